"""Families from any function that builds a functional model at a width."""

import functools
import inspect
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras

from oekd_tf.backbones.backbone import Backbone, Branch, check_multiple
from oekd_tf.core import keras_internals
from oekd_tf.core.types import KerasTensor


@keras.saving.register_keras_serializable("oekd_tf")
class FunctionBackbone(Backbone):
    """A family from a function `build(width)`, split where the stem ends.

    The stem is the part of `build(1.0)` up to `stem_layer`; a student's branch is the part of
    `build(width)` after it, on the full-width stem's output. Layers are rebuilt from their configs,
    with the student's name as prefix and with the weights that `build` gives them, such as
    pretrained ones. Where a narrower student's layer gets more channels from the full-width stem
    than from its own, its weights do not fit and are new; a warning says so if they were loaded.

    A network can be split at a layer that all paths from image to output pass, if the layers after
    it take any number of channels: a convolution, also a depthwise one, does; an addition of the
    stem's output to a narrower tensor, or a `Reshape` to a fixed number of channels, does not.

    Args:
        build: Function from a width in (0, 1] to a functional `keras.Model` without a classifier,
            whose output is (batch, features), or feature maps, which are then averaged. To save an
            ensemble, register the function with `keras.saving.register_keras_serializable`.
        stem_layer: Name of the last layer of the stem, the same at every width.
        block_layers: Names of the layers whose outputs are the block outputs, three in the paper.
        synchronized_batch_norm: Whether batch statistics are over all replicas.
        channel_multiple: Above 1, `build` is called with `channel_multiple` as well, and makes
            numbers of channels below full width multiples of it.

    Raises:
        ValueError: `build` is no function, or takes no `channel_multiple` that is given; or the
            network cannot be split there, for the reason in the message; raised when an ensemble
            is built.

    Example:
        ```python
        @keras.saving.register_keras_serializable("my_project")
        def mobilenet(width):
            return keras.applications.MobileNet(
                input_shape=(64, 64, 3), alpha=width, include_top=False, weights=None)

        family = oekd_tf.backbones.FunctionBackbone(
            mobilenet, stem_layer="conv1_relu",
            block_layers=("conv_pw_5_relu", "conv_pw_11_relu", "conv_pw_13_relu"))
        ensemble = oekd_tf.OnlineEnsemble(family, (64, 64, 3), num_classes=10)
        ```
    """

    def __init__(
        self,
        build: Callable[..., keras.Model],
        stem_layer: str,
        block_layers: Sequence[str],
        *,
        synchronized_batch_norm: bool = False,
        channel_multiple: int = 1,
    ):
        if not callable(build):
            raise ValueError(f"build must be a function of a width. Received: {build!r}")
        check_multiple(channel_multiple)
        if channel_multiple > 1 and not _takes_multiple(build):
            raise ValueError(
                "build must take an argument channel_multiple for channel_multiple above 1. "
                f"Received: {build!r} and channel_multiple={channel_multiple}"
            )
        if isinstance(block_layers, str) or not block_layers:
            raise ValueError(
                f"block_layers must be at least one layer's name. Received: {block_layers!r}"
            )
        self.build = build
        self.stem_layer = stem_layer
        self.block_layers = tuple(block_layers)
        self.synchronized_batch_norm = synchronized_batch_norm
        self.channel_multiple = channel_multiple

    def stem(self, images: KerasTensor) -> KerasTensor:
        model = self._built(1.0)
        expected = model.input.shape[1:]
        if any(a not in (None, b) for a, b in zip(expected, images.shape[1:], strict=True)):
            raise ValueError(
                f"build must make a network for the ensemble's images, {images.shape[1:]}. "
                f"Received: one for {expected}"
            )
        part = keras.Model(model.input, self._output(model, self.stem_layer))
        return self._rebuild(part, images, "stem")

    def branch(self, stem_output: KerasTensor, width: float, name: str) -> Branch:
        model = self._built(width)
        start = self._output(model, self.stem_layer)
        ends = [self._output(model, layer) for layer in self.block_layers]
        features = model.output
        self._check_cut(model, start, [*ends, features], width)
        # A model cannot have the same output twice.
        wanted = {id(tensor): tensor for tensor in [*ends, features]}
        part = keras.Model(start, list(wanted.values()))
        try:
            outputs = dict(zip(wanted, self._rebuild(part, stem_output, name), strict=True))
        except ValueError as error:
            raise ValueError(
                f"What follows stem_layer {self.stem_layer!r} must accept the full-width stem's "
                f"output, {stem_output.shape[1:]}; cut where a convolution follows. Received: at "
                f"width {width} a layer that does not: {_first_line(error)}"
            ) from error
        *blocks, features = (outputs[id(tensor)] for tensor in [*ends, features])
        if len(features.shape) == 4:
            features = keras.layers.GlobalAveragePooling2D(name=f"{name}_pool")(features)
        return Branch(tuple(blocks), features)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "build": keras.saving.serialize_keras_object(self.build),
            "block_layers": list(self.block_layers),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "FunctionBackbone":
        build = config["build"]
        if isinstance(build, dict):
            build = keras.saving.deserialize_keras_object(build)
        return cls(**{**config, "build": build})

    def _built(self, width: float) -> keras.Model:
        more = {"channel_multiple": self.channel_multiple} if self.channel_multiple > 1 else {}
        model = self.build(width, **more)
        functional = isinstance(model, keras.Model) and getattr(model, "inputs", None)
        if not functional or len(model.inputs) != 1 or len(model.outputs) != 1:
            raise ValueError(
                "build(width) must return a functional keras.Model with one input and one output. "
                f"Received: {model!r} at width {width}"
            )
        if len(model.output.shape) not in (2, 4):
            raise ValueError(
                "The output of build(width) must be (batch, features) or (batch, height, width, "
                f"channels). Received: {model.output.shape} at width {width}"
            )
        return model

    def _output(self, model: keras.Model, name: str) -> KerasTensor:
        names = [layer.name for layer in model.layers]
        if name not in names:
            shown = ", ".join(names[:40]) + (", ..." if len(names) > 40 else "")
            raise ValueError(
                f"stem_layer and block_layers must be layers of build(width): {shown}. "
                f"Received: {name!r}"
            )
        return model.get_layer(name).output

    def _check_cut(
        self, model: keras.Model, start: KerasTensor, ends: list[KerasTensor], width: float
    ) -> None:
        """Raises if a layer after the stem depends on one before its end."""
        after = {id(start)}
        for operation in _in_order(model):
            node = keras_internals.inbound_nodes(operation)[0]
            if not node.input_tensors or id(start) in map(id, node.output_tensors):
                continue
            reached = [id(tensor) in after for tensor in node.input_tensors]
            if any(reached):
                after.update(map(id, node.output_tensors))
            if any(reached) and not all(reached):
                outside = keras_internals.made_by(node.input_tensors[reached.index(False)]).name
                raise ValueError(
                    f"All paths to the output must pass stem_layer, {self.stem_layer!r}. "
                    f"Received: {operation.name!r}, which also takes the output of {outside!r}"
                )
        for name, end in zip([*self.block_layers, "the output"], ends, strict=True):
            if id(end) not in after or end is start:
                raise ValueError(
                    f"Blocks must come after stem_layer, {self.stem_layer!r}. Received: {name!r} "
                    f"at width {width}, which does not"
                )

    def _rebuild(self, part: keras.Model, tensor: KerasTensor, prefix: str) -> Any:
        """Outputs of a part of the model on another tensor, with new layers."""
        counts: dict[str, int] = {}
        pairs: list[tuple[keras.Operation, keras.Operation]] = []

        @functools.cache
        def renamed(operation: keras.Operation) -> keras.Operation:
            config = operation.get_config()
            own_name = operation.name
            kind = re.sub(r"_\d+$", "", own_name)
            # Default names of Keras depend on earlier layers; they are numbered anew.
            if kind.replace("_", "") == type(operation).__name__.lower():
                counts[kind] = counts.get(kind, 0) + 1
                own_name = f"{kind}_{counts[kind]}"
            config["name"] = f"{prefix}_{own_name}"
            if self.synchronized_batch_norm and "synchronized" in config:
                config["synchronized"] = True
            pairs.append((operation, type(operation).from_config(config)))
            return pairs[-1][1]

        # Like `clone_model`, which makes a separate graph for a tensor that is no input.
        outputs = keras_internals.run_through_graph(part, tensor, renamed)
        _copy_weights(pairs, prefix)
        return outputs


def _takes_multiple(build: Callable[..., keras.Model]) -> bool:
    parameters = inspect.signature(build).parameters.values()
    return any(p.name == "channel_multiple" or p.kind is p.VAR_KEYWORD for p in parameters)


def _copy_weights(pairs: Sequence[tuple[keras.Operation, keras.Operation]], name: str) -> None:
    """Gives new layers the weights of those that they are made from, where they fit."""
    layers = [(old, new) for old, new in pairs if isinstance(old, keras.Layer) and old.weights]
    unfit = []
    for old, new in layers:
        if [w.shape for w in old.weights] == [w.shape for w in new.weights]:
            new.set_weights(old.get_weights())
        else:
            unfit.append(old.name)
    if unfit and any(_is_loaded(old) for old, _ in layers):
        warnings.warn(
            f"Weights that build gave {', '.join(unfit)} do not fit {name}, which takes the output "
            f"of the full-width stem; these start anew, its other {len(layers) - len(unfit)} "
            "layers have theirs.",
            stacklevel=2,
        )


def _is_loaded(layer: keras.Layer) -> bool:
    """Whether a bias or a statistic of a layer is not what every new layer has."""
    for weight in layer.weights:
        start = {"beta": 0.0, "bias": 0.0, "moving_mean": 0.0, "gamma": 1.0, "moving_variance": 1.0}
        value = keras.ops.convert_to_numpy(weight.value)
        if weight.name in start and (value != start[weight.name]).any():
            return True
    return False


def _in_order(model: keras.Model) -> list[keras.Operation]:
    return [operation for operation in model.operations if keras_internals.inbound_nodes(operation)]


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), "")[:300]
