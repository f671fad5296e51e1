"""A twin that trains as it will compute in int8 (quantization-aware training)."""

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

from oekd_tf.core.errors import ExportError
from oekd_tf.export.compression.quantizers import ActivationQuantizer, WeightQuantizer

_KERNELS = {"Conv2D": "kernel", "DepthwiseConv2D": "depthwise_kernel", "Dense": "kernel"}
# Their results have the scale of what they are given.
_PASS_ON = {
    "AveragePooling2D", "Dropout", "Flatten", "GlobalMaxPooling2D", "MaxPooling2D", "Reshape",
    "ZeroPadding2D",
}  # fmt: skip


def quantization_aware(twin: Any, keep: str = "") -> Any:
    """A model with fake quantization where TFLite's int8 kernels round.

    Kernels are rounded in each layer; results after each group of layers that TFLite runs as one:
    a convolution or addition with the batch normalisation and ReLU behind it. A batch
    normalisation that stands alone, as before DenseNet's convolutions, becomes a depthwise
    convolution of 1×1 with its statistics fixed: one int8 operation.

    Args:
        twin: Model of `make_twin`, trained.
        keep: What of the weights is kept, as for `WeightQuantizer`.

    Returns:
        A tf_keras model that is trained and then converted without calibration.
    """
    model = _with_pixels(_without_lone_norms(twin))
    consumers = _consumers(model)

    def annotate(layer: Any) -> Any:
        kind = type(layer).__name__
        config = LayerQuantization(
            _KERNELS.get(kind, "") if layer.trainable else "",
            # Depthwise kernels are neither pruned nor clustered.
            "" if kind == "DepthwiseConv2D" else keep,
            _is_rounded(layer, consumers),
        )
        return tfmot.quantization.keras.quantize_annotate_layer(layer, config)

    with tfmot.quantization.keras.quantize_scope(_CUSTOM):
        annotated = tf_keras.models.clone_model(model, clone_function=annotate)
        annotated.set_weights(model.get_weights())
        return tfmot.quantization.keras.quantize_apply(annotated, _Scheme())


class LayerQuantization(tfmot.quantization.keras.QuantizeConfig):
    """How one layer is rounded.

    Args:
        kernel: Name of the layer's kernel; "" if it has none.
        keep: What of the weights is kept, as for `WeightQuantizer`.
        rounds_output: Whether the layer's result is rounded.
    """

    def __init__(self, kernel: str = "", keep: str = "", rounds_output: bool = False):
        self.kernel = kernel
        self.keep = keep
        self.rounds_output = rounds_output

    def get_weights_and_quantizers(self, layer: Any) -> list:
        if not self.kernel:
            return []
        quantizer = WeightQuantizer(self.kernel == "depthwise_kernel", self.keep)
        return [(getattr(layer, self.kernel), quantizer)]

    def set_quantize_weights(self, layer: Any, quantize_weights: list) -> None:
        for value in quantize_weights:
            setattr(layer, self.kernel, value)

    def get_activations_and_quantizers(self, layer: Any) -> list:
        return []

    def set_quantize_activations(self, layer: Any, quantize_activations: list) -> None:
        pass

    def get_output_quantizers(self, layer: Any) -> list:
        return [ActivationQuantizer()] if self.rounds_output else []

    def get_config(self) -> dict[str, Any]:
        return {"kernel": self.kernel, "keep": self.keep, "rounds_output": self.rounds_output}


class Pixels(tf_keras.layers.Layer):
    """Says that images are pixels from 0 to 255: what int8 and uint8 hold exactly."""

    def call(self, images: Any) -> Any:
        return tf.quantization.fake_quant_with_min_max_args(images, 0, 255)


_CUSTOM = {"LayerQuantization": LayerQuantization, "Pixels": Pixels}


class _Layout:
    """Leaves the model as it is: the groups are told to each layer's quantization."""

    def apply(self, model: Any, layer_quantize_map: dict) -> tuple[Any, dict]:
        return model, layer_quantize_map


class _Scheme(tfmot.quantization.keras.QuantizeScheme):
    def get_layout_transformer(self) -> _Layout:
        return _Layout()

    def get_quantize_registry(self) -> Any:
        return tfmot.quantization.keras.default_8bit.Default8BitQuantizeRegistry()


def _is_rounded(layer: Any, consumers: dict[str, list]) -> bool:
    kind = type(layer).__name__
    if kind in _PASS_ON or isinstance(layer, Pixels):
        return False
    if kind == "Activation":
        # The scale of a sigmoid's result is fixed in TFLite.
        return False
    behind = consumers[layer.name]
    fused = {
        "Conv2D": ("BatchNormalization", "ReLU"),
        "DepthwiseConv2D": ("BatchNormalization", "ReLU"),
        "Dense": ("BatchNormalization", "ReLU"),
        "BatchNormalization": ("ReLU",),
        "Add": ("ReLU",),
    }.get(kind, ())
    return not (len(behind) == 1 and type(behind[0]).__name__ in fused)


def _consumers(model: Any) -> dict[str, list]:
    """The layers that take each layer's result, by its name."""
    return {
        layer.name: [node.outbound_layer for node in layer.outbound_nodes] for layer in model.layers
    }


def _without_lone_norms(model: Any) -> Any:
    """The same model with each batch normalisation that follows no kernel as a 1×1 kernel."""
    consumers = _consumers(model)
    scales = {}

    def fixed(layer: Any) -> Any:
        if type(layer).__name__ != "BatchNormalization":
            return type(layer).from_config(layer.get_config())
        before = layer.inbound_nodes[0].inbound_layers
        if type(before).__name__ in _KERNELS and len(consumers[before.name]) == 1:
            return type(layer).from_config(layer.get_config())
        if len(layer.output.shape) != 4 or list(layer.axis) != [3]:
            raise ExportError(
                "A batch normalisation must follow a kernel or be of feature maps, channels last, "
                "for its network to be trained in int8; export it as int8 without qat_ instead. "
                f"Received: {layer.name}"
            )
        scales[layer.name] = _scale_and_offset(layer)
        return tf_keras.layers.DepthwiseConv2D(1, name=layer.name)

    copy = tf_keras.models.clone_model(model, clone_function=fixed)
    for layer in model.layers:
        twin = copy.get_layer(layer.name)
        if layer.name in scales:
            scale, offset = scales[layer.name]
            twin.set_weights([scale.reshape(1, 1, -1, 1), offset])
        else:
            twin.set_weights(layer.get_weights())
            twin.trainable = layer.trainable
    return copy


def _scale_and_offset(norm: Any) -> tuple[np.ndarray, np.ndarray]:
    mean, variance = norm.moving_mean.numpy(), norm.moving_variance.numpy()
    scale = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale = scale * norm.gamma.numpy()
    offset = -mean * scale
    return scale, offset + norm.beta.numpy() if norm.center else offset


def _with_pixels(model: Any) -> Any:
    images = tf_keras.Input(model.input_shape[1:], name=model.inputs[0].name)
    tensors = {id(model.inputs[0]): Pixels(name="pixels")(images)}
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.InputLayer):
            continue
        given = tf.nest.map_structure(
            lambda t: tensors[id(t)], layer.inbound_nodes[0].input_tensors
        )
        copy = type(layer).from_config(layer.get_config())
        tensors[id(layer.output)] = copy(given)
        copy.set_weights(layer.get_weights())
        copy.trainable = layer.trainable
    return tf_keras.Model(images, tensors[id(model.outputs[0])], name=model.name)
