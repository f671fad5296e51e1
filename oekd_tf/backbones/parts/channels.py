"""Which channels of a network's layers belong together: they can only be left out together.

A convolution makes channels of its own. Normalisation, activation and pooling hand them on; a sum
and a gate make those of their inputs the same; a concatenation lays them side by side; a
convolution in groups can only lose whole groups.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import layers

from oekd_tf.backbones.parts.tape import Step, Tape, Value

# Operations of `keras.ops` that hand channels on, or unite those of two inputs.
_OPERATIONS = {
    "Abs", "Absolute", "Add", "Cast", "Clip", "Divide", "Elu", "Exp", "Gelu", "HardSigmoid",
    "HardSilu", "LeakyRelu", "Maximum", "Minimum", "Multiply", "Power", "Relu", "Relu6", "Sigmoid",
    "Silu", "Softplus", "Sqrt", "Square", "Subtract", "Tanh", "TrueDivide",
}  # fmt: skip
_MERGES = (
    layers.Add, layers.Average, layers.Maximum, layers.Minimum, layers.Multiply, layers.Subtract,
)  # fmt: skip
_POOLING = (
    layers.AveragePooling2D, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D,
    layers.MaxPooling2D,
)  # fmt: skip
_RESIZING = (layers.Cropping2D, layers.UpSampling2D, layers.ZeroPadding2D)


class Space:
    """Channels that are kept or left out together, counted in items of one channel or several.

    Attributes:
        items: Number of items.
        whole: Whether none can be left out.
    """

    def __init__(self, items: int):
        self.items = items
        self.whole = False
        self._united: Space | None = None

    def root(self) -> "Space":
        """The space that this one was united with, or itself."""
        space = self
        while space._united is not None:
            space = space._united
        return space

    def unite(self, other: "Space") -> None:
        """Makes both one, of items that are whole in both."""
        mine, theirs = self.root(), other.root()
        if mine is not theirs:
            mine.items = math.gcd(mine.items, theirs.items)
            mine.whole = mine.whole or theirs.whole
            theirs._united = mine

    def group(self, groups: int) -> None:
        """Lets only whole groups be left out."""
        root = self.root()
        root.items = math.gcd(root.items, groups)


class Part(NamedTuple):
    """Consecutive channels of a value that are of one space.

    Attributes:
        space: The space.
        channels: Their number.
    """

    space: Space
    channels: int

    @property
    def item_size(self) -> int:
        """Number of channels of an item."""
        return self.channels // self.space.root().items


Channels = tuple[Part, ...]
# For each weight of a layer, which of its axes are the layer's "in" or "out" channels.
Axes = list[dict[int, str]]


class Network:
    """The channels of all values of a network.

    Args:
        tape: The network's steps.

    Raises:
        ValueError: It is not known what a layer does to its channels; the message names it.
    """

    def __init__(self, tape: Tape):
        self.tape = tape
        self._parts: dict[Value, Channels] = {}
        self._made: dict[int, Step] = {}
        self._parts[tape.input] = self._new(tape.input)
        self.hold(tape.input)
        for step in tape.steps:
            self._parts[step.output] = self._follow(step)

    def of(self, value: Value) -> Channels:
        """The channels of a value."""
        return self._parts[value]

    def hold(self, value: Value) -> None:
        """Lets none of a value's channels be left out."""
        for part in self._parts[value]:
            part.space.root().whole = True

    def _new(self, value: Value) -> Channels:
        channels = value.channels
        if not channels:
            raise ValueError(
                f"The number of channels must be known everywhere. Received: {value.shape}"
            )
        return (Part(Space(channels), channels),)

    def _follow(self, step: Step) -> Channels:
        if not step.inputs:
            raise _unknown(step)
        if makes_channels(step.operation):
            return self._produce(step)
        if type(step.operation).__name__ == "Concatenate":
            return self._concatenate(step)
        if isinstance(step.operation, layers.Flatten):
            return self._flatten(step)
        first = max(step.inputs, key=lambda value: value.channels or 0)
        if isinstance(step.operation, layers.DepthwiseConv2D):
            return self._depthwise(step, first)
        if isinstance(step.operation, layers.GroupNormalization):
            self._only(step, first).space.group(_groups_of(step.operation, first))
        if not hands_on(step):
            raise _unknown(step)
        for value in step.inputs:
            if value is not first and value.channels != 1:
                self._unite(step, first, value)
        return self._parts[first]

    def _produce(self, step: Step) -> Channels:
        # A layer that is called twice makes the same channels each time, of the same.
        before = self._made.setdefault(id(step.operation), step)
        if before is not step:
            self._unite(step, before.inputs[0], step.inputs[0])
            return self._parts[before.output]
        made = self._new(step.output)
        groups = getattr(step.operation, "groups", 1)
        if groups > 1:
            given = self._only(step, step.inputs[0])
            given.space.group(groups)
            made[0].space.group(groups)
            given.space.unite(made[0].space)
        return made

    def _depthwise(self, step: Step, value: Value) -> Channels:
        multiplier = step.operation.depth_multiplier
        return tuple(Part(part.space, part.channels * multiplier) for part in self._parts[value])

    def _concatenate(self, step: Step) -> Channels:
        rank = len(step.output.shape)
        if step.operation.axis not in (-1, rank - 1):
            raise _unknown(step)
        return tuple(part for value in step.inputs for part in self._parts[value])

    def _flatten(self, step: Step) -> Channels:
        (value,) = step.inputs
        size = step.output.channels
        if not size or not value.channels:
            raise _unknown(step)
        return self._parts[value] * (size // value.channels)

    def _only(self, step: Step, value: Value) -> Part:
        if len(self._parts[value]) != 1:
            raise _unknown(step, ", whose groups are of what was concatenated")
        return self._parts[value][0]

    def _unite(self, step: Step, first: Value, other: Value) -> None:
        mine, theirs = self._parts[first], self._parts[other]
        if [part.channels for part in mine] != [part.channels for part in theirs]:
            raise _unknown(step, ", whose inputs were concatenated in different ways")
        for one, two in zip(mine, theirs, strict=True):
            one.space.unite(two.space)


def makes_channels(operation: keras.Operation) -> bool:
    """Whether a layer's output channels are its own, each a sum over input channels."""
    kinds = (layers.Conv2D, layers.Conv2DTranspose, layers.SeparableConv2D, layers.Dense)
    return isinstance(operation, kinds) and not isinstance(operation, layers.DepthwiseConv2D)


def hands_on(step: Step) -> bool:
    """Whether a step's output has the channels of its inputs, in the same order."""
    operation = step.operation
    if not isinstance(operation, keras.Layer):
        # An array beside a tensor would have a number for each channel.
        constants = keras.tree.flatten((step.args, step.kwargs))
        alone = all(isinstance(c, Value) or not getattr(c, "shape", ()) for c in constants)
        return alone and type(operation).__name__ in _OPERATIONS
    if isinstance(operation, (*_MERGES, *_POOLING, *_RESIZING)):
        return getattr(operation, "data_format", "channels_last") == "channels_last"
    if isinstance(operation, layers.Reshape):
        # As before squeeze-and-excitation: (C,) to (1, 1, C).
        return _significant(step.output) == _significant(step.inputs[0])
    if type(operation).__name__ in ("Permute", "MultiHeadAttention", "Attention"):
        return False
    same = len(step.inputs) == 1 and step.output.shape == step.inputs[0].shape
    return same and all(
        list(weight.shape)[-1:] == [step.output.channels] for weight in _own_weights(operation)
    )


def weight_axes(operation: keras.Operation) -> Axes:
    """For each weight of a layer that has channels, which axes of it are channels."""
    if isinstance(operation, layers.SeparableConv2D):
        axes: Axes = [{2: "in"}, {2: "in", 3: "out"}]
    elif isinstance(operation, layers.DepthwiseConv2D):
        axes = [{2: "in"}]
    elif isinstance(operation, layers.Conv2DTranspose):
        axes = [{2: "out", 3: "in"}]
    elif isinstance(operation, layers.Conv2D):
        axes = [{3: "out"} if operation.groups > 1 else {2: "in", 3: "out"}]
    elif isinstance(operation, layers.Dense):
        axes = [{0: "in", 1: "out"}]
    else:
        return [{len(weight.shape) - 1: "out"} for weight in _own_weights(operation)]
    if len(_own_weights(operation)) > len(axes):
        axes.append({0: "out"})
    return axes


def channel_weights(operation: keras.Operation) -> list[keras.Variable]:
    """The weights that `weight_axes` is about."""
    return _own_weights(operation)


def narrowed_config(step: Step, network: Network, kept: Callable[[Part], int]) -> dict[str, Any]:
    """The config of a layer with fewer channels.

    Args:
        step: The step whose layer it is.
        network: The channels of the full network.
        kept: Function from a part of a value's channels to how many of them stay.

    Returns:
        A config for `from_config` of the same class.
    """
    operation, config = step.operation, step.operation.get_config()
    before = sum(part.channels for part in network.of(step.output))
    after = sum(kept(part) for part in network.of(step.output))
    if before == after:
        return config
    if isinstance(operation, layers.Dense):
        config["units"] = after
    elif makes_channels(operation):
        config["filters"] = after
        if getattr(operation, "groups", 1) > 1:
            config["groups"] = operation.groups * after // before
    elif isinstance(operation, layers.GroupNormalization):
        if _groups_of(operation, step.inputs[0]) > 1 and operation.groups > 0:
            config["groups"] = operation.groups * after // before
    elif isinstance(operation, layers.Reshape):
        config["target_shape"] = (*config["target_shape"][:-1], after)
    elif _own_weights(operation) and not _is_of_keras(operation):
        # Such as the projection_dim of ConvNeXt's LayerScale.
        numbers = {n: v for n, v in config.items() if type(v) is int and v == before}
        config.update(dict.fromkeys(numbers, after))
    return config


def _own_weights(operation: keras.Operation) -> list[keras.Variable]:
    """Without the state of random generators."""
    weights = getattr(operation, "weights", [])
    return [weight for weight in weights if "seed_generator" not in weight.path]


def _is_of_keras(operation: keras.Operation) -> bool:
    return getattr(layers, type(operation).__name__, None) is type(operation)


def _significant(value: Value) -> list[int | None]:
    """A shape without dimensions of size 1."""
    return [size for size in value.shape[1:] if size != 1]


def _groups_of(operation: keras.Operation, value: Value) -> int:
    return (value.channels or 1) if operation.groups == -1 else operation.groups


def _unknown(step: Step, more: str = "") -> ValueError:
    kind = type(step.operation).__name__
    return ValueError(
        "Every layer must be one whose channels can be left out: convolutions, dense layers, "
        "normalisation, activations, pooling, sums, gates and concatenations can. "
        f"Received: {step.name!r} ({kind}){more}"
    )
