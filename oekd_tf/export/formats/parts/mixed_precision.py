"""Which layers of an int8 file need a higher precision, by what each of them alone costs."""

import bisect
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

# What quantizing around a layer takes, in bytes, about.
_AROUND = 150


class Choice(NamedTuple):
    """Layers that are kept in a higher precision.

    Attributes:
        kept: The precision of each, by name; those first that gain most.
        content: The file.
        loss: Its `expected_loss`, from 0 to 1.
    """

    kept: dict[str, str]
    content: bytes
    loss: float


def expected_loss(reference: np.ndarray, logits: np.ndarray) -> float:
    """Accuracy that a file is expected to lose, without labels.

    An image whose top class changes counts by how much less likely the network finds the new one.
    Of a few hundred images this is far less noisy than a difference of two accuracies, because
    images that change from a wrong class to another one do not count by chance.

    Args:
        reference: Logits of the network, (images, classes).
        logits: Logits of the file, (images, classes).

    Returns:
        A share from 0 to 1; 1 if a logit is not finite.

    Example:
        >>> round(expected_loss(np.log([[0.6, 0.4]]), np.array([[1.0, 2.0]])), 6)
        0.2
    """
    if not np.isfinite(logits).all():
        return 1.0
    scores = np.exp(reference - reference.max(-1, keepdims=True), dtype=np.float64)
    shares = scores / scores.sum(-1, keepdims=True)
    found = np.take_along_axis(shares, logits.argmax(-1)[:, None], axis=-1)
    return float((shares.max(-1, keepdims=True) - found).mean())


def layer_errors(
    names: Sequence[str],
    file_without: Callable[[str], bytes],
    run: Callable[[bytes], np.ndarray],
    reference: np.ndarray,
) -> dict[str, float]:
    """What each layer costs when it alone is in int8 and all others are in float.

    Errors of layers that are measured so add up; those of a layer in float between others in int8
    do not, because what it takes and gives is then still rounded.

    Args:
        names: Names of the layers.
        file_without: Function from a layer's name to the content of a file that has it in int8 and
            all others in float.
        run: Function from a file's content to its logits, (images, classes).
        reference: Logits of the network on these images, (images, classes).

    Returns:
        By name, the mean squared error of the logits over their variance.
    """
    variance = float(reference.var()) or 1.0
    errors = {}
    for name in names:
        error = float(np.square(run(file_without(name)) - reference).mean()) / variance
        errors[name] = error if np.isfinite(error) else float(np.finfo(np.float32).max)
    return errors


def by_gain(more_bytes: Mapping[str, int], errors: Mapping[str, float], budget: int) -> list[str]:
    """Layers to keep, those first that gain most for a byte.

    Args:
        more_bytes: How much larger the constants of each layer are than in int8, by name.
        errors: What each of them costs in int8, by name.
        budget: Number of bytes that the file may grow by; a layer that takes more is left out.

    Returns:
        Names.

    Example:
        >>> more = {"stem": 1_500, "head": 270_000, "add": 0}
        >>> by_gain(more, {"stem": 0.01, "head": 0.02, "add": 0.001}, 10_000)
        ['add', 'stem']
    """
    fitting = [name for name, more in more_bytes.items() if more <= budget]
    return sorted(fitting, key=lambda name: -errors[name] / (more_bytes[name] + _AROUND))


def within(order: Sequence[str], more_bytes: Mapping[str, int], budget: int) -> list[str]:
    """The first layers that fit together.

    Args:
        order: Names of layers.
        more_bytes: As for `by_gain`.
        budget: Number of bytes.

    Returns:
        Names, without layers that what is before them leaves no room for.

    Example:
        >>> within(["stem", "head", "add"], {"stem": 1_500, "head": 9_000, "add": 0}, 10_000)
        ['stem', 'add']
    """
    chosen = []
    for name in order:
        if more_bytes[name] + _AROUND <= budget:
            budget -= more_bytes[name] + _AROUND
            chosen.append(name)
    return chosen


def choose(
    order: Sequence[tuple[str, str]],
    file_with: Callable[[Mapping[str, str]], bytes],
    loss: Callable[[bytes], float],
    max_bytes: int,
    max_loss: float,
) -> Choice:
    """Keeps as few of the first layers as it takes.

    Args:
        order: Names of layers and the precision to keep each in.
        file_with: Function from the precision of layers by name to the content of a file that has
            all others in int8.
        loss: Function from a file's content to its expected loss, from 0 to 1.
        max_bytes: Most bytes of the file.
        max_loss: Largest loss; where it cannot be had within the bytes, the layers that fit.

    Returns:
        The layers, and the file.
    """

    def attempt(count: int) -> Choice:
        kept = dict(order[:count])
        content = file_with(kept)
        return Choice(kept, content, loss(content))

    # Each of them makes the file larger, but for what need not be quantized any more between two.
    most = bisect.bisect_right(
        range(1, len(order) + 1), max_bytes, key=lambda count: len(file_with(dict(order[:count])))
    )
    found = attempt(most)
    if found.loss > max_loss:
        return found
    least, enough = -1, most
    while enough - least > 1:
        middle = (least + enough) // 2
        tried = attempt(middle)
        if tried.loss <= max_loss:
            enough, found = middle, tried
        else:
            least = middle
    return found
