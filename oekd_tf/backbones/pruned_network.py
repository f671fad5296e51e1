"""Families from any functional Keras model, by leaving out channels of its layers."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from oekd_tf.backbones.backbone import Backbone, Branch, check_multiple, scale_channels
from oekd_tf.backbones.parts import channels
from oekd_tf.backbones.parts.preprocessing import MODES, first_pixels, mode_of
from oekd_tf.backbones.parts.tape import Step, Tape, Value, record
from oekd_tf.core.errors import format_value
from oekd_tf.core.types import KerasTensor

_BLOCKS = 3
_AFTER_CLASSIFIER = (layers.Activation, layers.Softmax, layers.Flatten, layers.Reshape)
# Names that an ensemble gives its own layers.
_TAKEN = ("logits", "pool")


@keras.saving.register_keras_serializable("oekd_tf")
class PrunedNetwork(Backbone):
    """A family made from one network: narrower students have fewer channels in each layer.

    Which channels go together is read from the network's graph: the two sides of a residual sum
    keep the same ones, a depthwise convolution and a gate keep those of what they are applied to,
    a convolution in groups loses whole groups. Channels that reach a layer through the stem all
    stay, because students share the stem.

    With `OnlineEnsemble(from_keras(model), ...)` student 1 begins with the model's weights and
    narrower students with a slice of them, unless `initial_weights` says otherwise.

    Args:
        model: A functional or sequential model of images, with or without a classifier: one of
            `keras.applications`, a backbone of `keras_hub`, or one's own. A classifier at its end,
            a dense layer, is left out, and Rescaling and Normalization at its start become the
            ensemble's `mean` and `std`.
        stem_layer: Name of the last layer of the stem, which all paths from the image pass. None
            chooses the last such layer before the second convolution.
        block_layers: Names of the layers whose outputs are the block outputs. None chooses the last
            ones of the three lowest resolutions that all paths pass.
        features_layer: Name of the layer whose output goes to the new classifier, as feature maps,
            which are then averaged, or as (batch, features). None chooses what the model's own
            classifier takes, or the model's output.
        preprocessing: How pixels from 0 to 255 are prepared for the model: "none", "tf", "torch" or
            "caffe", as `keras.applications` has it, or (mean, std), each a number or one for each
            channel. None takes what the model begins with, or what belongs to a network of
            `keras.applications`.
        synchronized_batch_norm: Whether batch statistics are over all replicas.
        batch_norm_momentum: Momentum of the moving statistics; None leaves the model's, which at
            Keras's default of 0.99 is slow for short runs.
        channel_multiple: Numbers of channels of narrower students are the nearest multiples of it;
            1 is the paper's rounding, floor(channels · width), and at least 1.

    Raises:
        ValueError: An argument breaks its rule, or a layer is none whose channels can be left out;
            the message has its name.

    Example:
        >>> model = keras.applications.MobileNetV2((96, 96, 3), include_top=False)
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     oekd_tf.backbones.from_keras(model), input_shape=(96, 96, 3), num_classes=10)

    Reference:
        Which channels are coupled: Fang et al., "DepGraph: Towards Any Structural Pruning", arXiv
        2301.12900, section 3.
    """

    def __init__(
        self,
        model: keras.Model,
        stem_layer: str | None = None,
        block_layers: Sequence[str] | None = None,
        features_layer: str | None = None,
        *,
        preprocessing: str | Sequence[Any] | None = None,
        synchronized_batch_norm: bool = False,
        batch_norm_momentum: float | None = None,
        channel_multiple: int = 1,
    ):
        check_multiple(channel_multiple)
        if batch_norm_momentum is not None and not 0 <= batch_norm_momentum < 1:
            raise ValueError(
                "batch_norm_momentum must be None, or at least 0 and below 1. "
                f"Received: {batch_norm_momentum}"
            )
        self.model = model
        self.stem_layer = stem_layer
        self.block_layers = None if block_layers is None else tuple(block_layers)
        self.features_layer = features_layer
        self.preprocessing = preprocessing
        self.synchronized_batch_norm = synchronized_batch_norm
        self.batch_norm_momentum = batch_norm_momentum
        self.channel_multiple = channel_multiple

        tape, found = first_pixels(record(model))
        self.pixels, self._flipped = _prepared(preprocessing, found, model)
        self._tape, self._features = _without_classifier(tape, features_layer)
        names = [step.name for step in self._tape.steps]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"Every layer must have a name of its own. Received: {twice!r} twice")
        self._network = channels.Network(self._tape)
        self._stem_end = self._find_stem()
        self._network.hold(self._tape.steps[self._stem_end].output)
        self._block_ends = self._find_blocks()
        # Of a copy, so that what becomes of the model later changes nothing.
        self._weights = {
            _own_name(step): [np.array(weight) for weight in step.operation.get_weights()]
            for step in self._tape.steps
            if getattr(step.operation, "weights", None)
        }
        self._is_restored = False

    def initial_weights(self) -> dict[str, list[np.ndarray]] | None:
        """The model's weights by layer, as student 1 begins; None of a family that was restored."""
        if self._is_restored:
            return None
        found = dict(self._weights)
        if self._flipped:
            # Colours in the other order, which is the same as their kernels in the other order.
            name = self._flipped
            found[name] = [found[name][0][:, :, ::-1], *found[name][1:]]
        return found

    def stem(self, images: KerasTensor) -> KerasTensor:
        end = self._stem_end + 1
        values = self._run(self._tape.steps[:end], {self._tape.input: images}, 1.0, "stem")
        return values[self._tape.steps[self._stem_end].output]

    def branch(self, stem_output: KerasTensor, width: float, name: str) -> Branch:
        start = self._tape.steps[self._stem_end].output
        after = self._tape.steps[self._stem_end + 1 :]
        values = self._run(after, {start: stem_output}, width, name)
        blocks = tuple(values[self._tape.steps[end].output] for end in self._block_ends)
        features = values[self._features]
        if len(features.shape) == 4:
            features = layers.GlobalAveragePooling2D(name=f"{name}_pool")(features)
        return Branch(blocks, features)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {**config, "model": keras.saving.serialize_keras_object(self.model)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PrunedNetwork":
        model = config["model"]
        if not isinstance(model, dict):
            return cls(**config)
        restored = cls(**{**config, "model": keras.saving.deserialize_keras_object(model)})
        # Its weights are not in the config.
        restored._is_restored = True
        return restored

    def __repr__(self) -> str:
        return f"PrunedNetwork({self.model.name!r})"

    def _run(
        self, steps: Sequence[Step], values: dict[Value, Any], width: float, prefix: str
    ) -> dict[Value, Any]:
        """Symbolic outputs of steps, made anew at a width."""

        def kept(part: channels.Part) -> int:
            return self._kept(part, width)

        made: dict[int, Callable[..., Any]] = {}
        for step in steps:
            operation = made.get(id(step.operation))
            if operation is None:
                operation = self._copied(step, kept, f"{prefix}_{_own_name(step)}")
                made[id(step.operation)] = operation
            values[step.output] = step.run(operation, values)
        return values

    def _copied(
        self, step: Step, kept: Callable[[channels.Part], int], name: str
    ) -> Callable[..., Any]:
        config = channels.narrowed_config(step, self._network, kept)
        config["name"] = name
        # As the ensemble has it, such as half precision.
        if isinstance(step.operation, keras.Layer):
            config.pop("dtype", None)
            # What is frozen in the model is not: slices must be trained.
            config["trainable"] = True
        if isinstance(step.operation, layers.BatchNormalization):
            config["synchronized"] = self.synchronized_batch_norm
            if self.batch_norm_momentum is not None:
                config["momentum"] = self.batch_norm_momentum
        return type(step.operation).from_config(config)

    def _kept(self, part: channels.Part, width: float) -> int:
        space = part.space.root()
        if space.whole or width == 1:
            return part.channels
        multiple = self.channel_multiple // math.gcd(self.channel_multiple, part.item_size)
        items = scale_channels(space.items, max(width, 1 / space.items), multiple)
        return items * part.item_size

    def _find_stem(self) -> int:
        steps = self._tape.steps
        cuts = [index for index in self._tape.cuts() if len(steps[index].output.shape) == 4]
        if self.stem_layer is not None:
            index = _index(steps, self.stem_layer, "stem_layer")
            if index not in cuts:
                raise ValueError(
                    "stem_layer must be a layer that all paths from the image pass. "
                    f"Received: {self.stem_layer!r}"
                )
            return index
        convolutions = [
            index
            for index, step in enumerate(steps)
            if isinstance(step.operation, (layers.Conv2D, layers.SeparableConv2D))
        ]
        if len(convolutions) < 2:
            raise ValueError(
                "The network must have at least two convolutions. "
                f"Received: {self.model.name!r}, which has {len(convolutions)}"
            )
        first, second = convolutions[:2]
        found = [index for index in cuts if first <= index < second]
        if not found:
            raise ValueError(
                "All paths must pass the end of the stem, after the first convolution. Received: "
                f"{self.model.name!r}, which branches before {steps[second].name!r}; name a "
                "stem_layer"
            )
        return found[-1]

    def _find_blocks(self) -> list[int]:
        steps, first = self._tape.steps, self._stem_end + 1
        if self.block_layers is not None:
            if not self.block_layers:
                raise ValueError(
                    "block_layers must be None or at least one layer's name. Received: none"
                )
            found = [_index(steps, name, "block_layers") for name in self.block_layers]
            early = [steps[index].name for index in found if index < first]
            if early or found != sorted(found):
                raise ValueError(
                    "block_layers must come after the stem, in their order. "
                    f"Received: {format_value(self.block_layers)}"
                )
            return found
        maps = [
            index
            for index in self._tape.cuts()
            if index >= first and len(steps[index].output.shape) == 4
        ]
        maps = [i for i in maps if not isinstance(steps[i].operation, layers.ZeroPadding2D)]
        level = _strides(self._tape)
        # The pooling that some networks end with is no layer block.
        maps = [index for index in maps if level[steps[index].output] < math.inf]
        by_level = itertools.groupby(maps, key=lambda index: level[steps[index].output])
        ends = [_unit_end(steps, list(group)) for _, group in by_level]
        if not ends:
            raise ValueError(
                "The network must have feature maps that all paths pass; name block_layers. "
                f"Received: {self.model.name!r}, which has none after the stem"
            )
        return ends[-_BLOCKS:]


def from_keras(
    model: keras.Model,
    stem_layer: str | None = None,
    block_layers: Sequence[str] | None = None,
    **kwargs: Any,
) -> PrunedNetwork:
    """A family made from any functional Keras model, whose weights student 1 begins with.

    Args:
        model: The model: of `keras.applications`, of `keras_hub`, or one's own.
        stem_layer: Name of the last layer of the stem; None chooses it.
        block_layers: Names of the layers whose outputs are the block outputs; None chooses them.
        **kwargs: Other arguments of `PrunedNetwork`, such as `preprocessing`.

    Returns:
        The family, for `OnlineEnsemble`.

    Raises:
        ValueError: A layer is none whose channels can be left out, or an argument breaks its rule.

    Example:
        >>> model = keras.applications.ResNet50V2(include_top=False, input_shape=(64, 64, 3))
        >>> family = oekd_tf.backbones.from_keras(model)
    """
    return PrunedNetwork(model, stem_layer, block_layers, **kwargs)


def _prepared(
    preprocessing: Any, found: tuple | None, model: keras.Model
) -> tuple[tuple[Any, Any], str | None]:
    """Mean and standard deviation of pixels, and the layer whose colours are in other order."""
    if preprocessing is None:
        if found is not None:
            return found, None
        preprocessing = mode_of(model.name)
        if preprocessing is None:
            raise ValueError(
                f"preprocessing must be one of {', '.join(MODES)}, or (mean, std), for a network "
                "that does not begin with Rescaling or Normalization. Received: None"
            )
    elif found is not None:
        raise ValueError(
            "preprocessing must be None for a network that begins with Rescaling or "
            f"Normalization. Received: {format_value(preprocessing)}"
        )
    if isinstance(preprocessing, str):
        if preprocessing not in MODES:
            raise ValueError(
                f"preprocessing must be None, one of {', '.join(MODES)}, or (mean, std). "
                f"Received: {preprocessing!r}"
            )
        mode = MODES[preprocessing]
        return (mode.mean, mode.std), _first_layer(model) if mode.flips else None
    if not isinstance(preprocessing, Sequence) or len(preprocessing) != 2:
        raise ValueError(
            f"preprocessing must be None, one of {', '.join(MODES)}, or (mean, std). "
            f"Received: {format_value(preprocessing)}"
        )
    return (preprocessing[0], preprocessing[1]), None


def _first_layer(model: keras.Model) -> str:
    steps = record(model).steps
    first = next((s for s in steps if getattr(s.operation, "weights", None)), None)
    if first is None or not channels.makes_channels(first.operation):
        raise ValueError(
            "preprocessing must not be caffe unless the network begins with a convolution. "
            f"Received: {model.name!r}"
        )
    return _own_name(first)


def _without_classifier(tape: Tape, features_layer: str | None) -> tuple[Tape, Value]:
    """The steps up to the features."""
    steps = tape.steps
    if features_layer is not None:
        index = _index(steps, features_layer, "features_layer")
        end = steps[index].output
    else:
        end = tape.output
        last = next((s for s in reversed(steps) if getattr(s.operation, "weights", None)), None)
        if last is not None and len(end.shape) == 2 and _classifies(last):
            after = steps[steps.index(last) + 1 :]
            if all(isinstance(s.operation, _AFTER_CLASSIFIER) for s in after):
                end = last.inputs[0]
    if len(end.shape) not in (2, 4):
        raise ValueError(
            "The features must be (batch, features) or (batch, height, width, channels). "
            f"Received: {end.shape}"
        )
    return tape.up_to(end), end


def _strides(tape: Tape) -> dict[Value, float]:
    """By how much each value's resolution is below the image's."""
    found = {tape.input: 1.0}
    for step in tape.steps:
        # The lowest of what is added or gated.
        level = min(found[value] for value in step.inputs)
        operation = step.operation
        if isinstance(operation, (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)):
            level = math.inf
        elif isinstance(operation, layers.UpSampling2D):
            level /= operation.size[0]
        elif strides := getattr(operation, "strides", None):
            level *= strides if isinstance(strides, int) else strides[0]
        found[step.output] = level
    return found


def _own_name(step: Step) -> str:
    return f"{step.name}_layer" if step.name in _TAKEN else step.name


def _classifies(step: Step) -> bool:
    if isinstance(step.operation, layers.Dense):
        return True
    # MobileNetV3's classifier is a convolution of one pixel.
    return isinstance(step.operation, layers.Conv2D) and step.output.shape[1:3] == (1, 1)


def _unit_end(steps: Sequence[Step], cuts: list[int]) -> int:
    """The last sum or concatenation, with the activation after it; else the last step."""
    # A sum may be a layer, or the + of two tensors.
    ends = [i for i in cuts if type(steps[i].operation).__name__ in ("Add", "Concatenate")]
    if not ends:
        return cuts[-1]
    later = itertools.takewhile(
        lambda i: isinstance(steps[i].operation, (layers.Activation, layers.ReLU)),
        [i for i in cuts if i > ends[-1]],
    )
    return max(later, default=ends[-1])


def _index(steps: Sequence[Step], name: str, argument: str) -> int:
    names = [step.name for step in steps]
    if name not in names:
        shown = ", ".join(names[:40]) + (", ..." if len(names) > 40 else "")
        raise ValueError(f"{argument} must name layers of the network: {shown}. Received: {name!r}")
    return names.index(name)
