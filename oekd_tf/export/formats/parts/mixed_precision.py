"""Which layers of an int8 file must stay in float, by what each of them alone costs."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

# What the operations around a float layer take, in bytes: more than they do when it is alone.
_AROUND = 300
# A float weight instead of one in int8.
_MORE_A_WEIGHT = 3


class Layer(NamedTuple):
    """A layer that can be kept in float.

    Attributes:
        name: Name that it is kept by.
        weights: Number of its weights.
    """

    name: str
    weights: int


class Choice(NamedTuple):
    """Layers that are kept in float.

    Attributes:
        kept: Their names, in the order of the network.
        content: The file.
        loss: Its `expected_loss`, from 0 to 1.
    """

    kept: tuple[str, ...]
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
    layers: Sequence[Layer],
    quantize: Callable[[Sequence[str]], bytes],
    run: Callable[[bytes], np.ndarray],
    reference: np.ndarray,
) -> dict[str, float]:
    """What each layer costs when it alone is in int8 and all others are in float.

    Errors of layers that are measured so add up; those of a layer in float between others in int8
    do not, because what it takes and gives is then still rounded.

    Args:
        layers: The layers.
        quantize: Function from the names of layers to keep in float to the content of a file.
        run: Function from a file's content to its logits, (images, classes).
        reference: Logits of the network on these images, (images, classes).

    Returns:
        By name, the mean squared error of the logits over their variance.
    """
    names = [layer.name for layer in layers]
    variance = float(reference.var()) or 1.0
    errors = {}
    for name in names:
        logits = run(quantize([other for other in names if other != name]))
        error = float(np.square(logits - reference).mean()) / variance
        errors[name] = error if np.isfinite(error) else float(np.finfo(np.float32).max)
    return errors


def by_gain(layers: Sequence[Layer], errors: dict[str, float], budget: int) -> list[str]:
    """Layers to keep in float, those first that gain most for a byte.

    Args:
        layers: The layers.
        errors: What each of them costs, by name.
        budget: Number of bytes that the file may grow by; layers that do not fit are left out.

    Returns:
        Names.

    Example:
        >>> layers = [Layer("stem", 500), Layer("head", 90_000), Layer("add", 0)]
        >>> by_gain(layers, {"stem": 0.01, "head": 0.02, "add": 0.001}, 10_000)
        ['stem', 'add']
    """
    cost = {layer.name: _MORE_A_WEIGHT * layer.weights + _AROUND for layer in layers}
    chosen: list[str] = []
    for name in sorted(cost, key=lambda name: -errors[name] / cost[name]):
        if cost[name] <= budget:
            chosen.append(name)
            budget -= cost[name]
    return chosen


def choose(
    order: Sequence[str],
    layers: Sequence[Layer],
    quantize: Callable[[Sequence[str]], bytes],
    loss: Callable[[bytes], float],
    max_bytes: int,
    max_loss: float,
) -> Choice:
    """Keeps as few of the first layers as it takes.

    Args:
        order: Names of layers, of `by_gain`.
        layers: All layers.
        quantize: As for `layer_errors`.
        loss: Function from a file's content to its expected loss, from 0 to 1.
        max_bytes: Most bytes of the file.
        max_loss: Largest loss; where it cannot be had within the bytes, the layers that fit.

    Returns:
        The layers, and the file.
    """
    place = {layer.name: index for index, layer in enumerate(layers)}

    def attempt(count: int) -> Choice:
        kept = tuple(sorted(order[:count], key=place.__getitem__))
        content = quantize(kept)
        return Choice(kept, content, loss(content) if len(content) <= max_bytes else 1.0)

    most, found = len(order), attempt(len(order))
    while most and len(found.content) > max_bytes:
        most -= max(1, most // 20)
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
