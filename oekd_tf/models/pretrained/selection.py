"""Which channels of a full-width network a narrower student begins with."""

from collections.abc import Callable

import keras
import numpy as np

from oekd_tf.backbones.parts import channels
from oekd_tf.backbones.parts.channels import Network, Part, Space
from oekd_tf.core.choices import SLICES
from oekd_tf.core.variables import as_array

# What an item of a space is worth, each layer's mean 1; of all layers together.
Worth = dict[Space, np.ndarray]


def _first(network: Network) -> Worth:
    del network
    return {}


def _random(network: Network) -> Worth:
    return {space: np.random.permutation(space.items) for space in _spaces(network)}


def _l1(network: Network) -> Worth:
    found: Worth = {}
    for step in network.tape.steps:
        depthwise = isinstance(step.operation, keras.layers.DepthwiseConv2D)
        if not depthwise and not channels.makes_channels(step.operation):
            continue
        for axes, weight in _weights(step.operation):
            if len(weight.shape) < 2:
                continue
            # Depthwise kernels have the channels of their input.
            end, value = "in", step.inputs[0]
            if "out" in axes.values():
                end, value = "out", step.output
            axis = next(axis for axis, of in axes.items() if of == end)
            others = tuple(a for a in range(len(weight.shape)) if a != axis)
            _add(found, network.of(value), np.abs(as_array(weight)).mean(axis=others))
    return found


def _bn_scale(network: Network) -> Worth:
    found: Worth = {}
    for step in network.tape.steps:
        gamma = getattr(step.operation, "gamma", None)
        if isinstance(step.operation, keras.layers.BatchNormalization) and gamma is not None:
            _add(found, network.of(step.output), np.abs(as_array(gamma)))
    # Such as the bottleneck of squeeze-and-excitation, which is not normalised.
    return {**_l1(network), **found}


# Functions from a network to what each of its channels is worth.
_RULES: dict[str, Callable[[Network], Worth]] = dict(
    zip(SLICES, (_l1, _bn_scale, _first, _random), strict=True)
)


def check_slice(rule: str) -> None:
    """Raises a ValueError unless there is such a rule."""
    if rule not in SLICES:
        raise ValueError(f"slice must be one of {', '.join(SLICES)}. Received: {rule!r}")


class Selection:
    """The channels that students of each number of channels begin with.

    Those of a smaller number are among those of a larger one, and what belongs together chooses
    the same.

    Args:
        network: The channels of the full-width network.
        rule: "first", the first ones; "l1", those with the largest kernels (Li et al., arXiv
            1608.08710); "bn_scale", those that batch normalisation scales most (Liu et al., arXiv
            1708.06519); "random", to compare with.
    """

    def __init__(self, network: Network, rule: str):
        self._worth = _RULES[rule](network)

    def of(self, part: Part, count: int) -> np.ndarray | None:
        """Indices of the channels of a part.

        Args:
            part: Channels of the full-width network.
            count: How many the student has.

        Returns:
            Rising indices from 0; None if the number is none of whole items.
        """
        space, size = part.space.root(), part.item_size
        items, rest = divmod(count, size)
        if rest or items > space.items:
            return None
        kept = np.arange(items)
        if space in self._worth:
            # Stable, so that of two that are worth the same the first is kept.
            kept = np.sort(np.argsort(-self._worth[space], kind="stable")[:items])
        return (kept[:, None] * size + np.arange(size)).ravel()


def _weights(operation: keras.Operation) -> list[tuple[dict[int, str], keras.Variable]]:
    weights = channels.channel_weights(operation)
    if not weights:
        return []
    return list(zip(channels.weight_axes(operation), weights, strict=True))


def _spaces(network: Network) -> list[Space]:
    values = [network.tape.input, *(step.output for step in network.tape.steps)]
    return list(dict.fromkeys(part.space.root() for v in values for part in network.of(v)))


def _add(found: Worth, parts: channels.Channels, sizes: np.ndarray) -> None:
    """Adds what a layer says of its channels, relative to their mean, to what others say."""
    sizes = sizes / max(float(sizes.mean()), 1e-12)
    start = 0
    for part in parts:
        space = part.space.root()
        own = sizes[start : start + part.channels].reshape(space.items, -1).mean(axis=1)
        found[space] = found.get(space, 0.0) + own
        start += part.channels
