"""A student as a flat tf_keras model: what tensorflow-model-optimization takes.

It takes no Keras 3 model, no model in a model, and no activation inside a convolution that it is
to treat by itself. The twin has the student's layers under their names, each activation as a layer
of its own, and the student's weights.
"""

import types
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from oekd_tf.core import keras_internals
from oekd_tf.core.errors import ExportError
from oekd_tf.export.plain_student import plain_student

# Largest logit difference, relative to the largest logit (at least 1), of a twin that is right.
TOLERANCE = 1e-4

_WITH_WEIGHTS = {
    "Conv2D": (
        "filters", "kernel_size", "strides", "padding", "dilation_rate", "groups", "use_bias",
    ),
    "DepthwiseConv2D": (
        "kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier", "use_bias",
    ),
    "Dense": ("units", "use_bias"),
    "BatchNormalization": ("axis", "momentum", "epsilon", "center", "scale"),
}  # fmt: skip
_WITHOUT_WEIGHTS = {
    "Add": (),
    "AveragePooling2D": ("pool_size", "strides", "padding"),
    "Concatenate": ("axis",),
    "Dropout": ("rate",),
    "Flatten": (),
    "GlobalAveragePooling2D": ("keepdims",),
    "GlobalMaxPooling2D": ("keepdims",),
    "MaxPooling2D": ("pool_size", "strides", "padding"),
    "Multiply": (),
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "Reshape": ("target_shape",),
    "ZeroPadding2D": ("padding",),
}
_COPIED = {**_WITH_WEIGHTS, **_WITHOUT_WEIGHTS}


def make_twin(student: keras.Model) -> Any:
    """A tf_keras model of the same layers and weights.

    Args:
        student: Functional Keras 3 model from raw images to logits.

    Returns:
        A flat functional `tf_keras.Model`, float32. Convolutions and dense layers are linear,
        with their activation behind them; swish is a sigmoid and a `Multiply`; the normalisation
        of the input is a `DepthwiseConv2D` of 1×1, named as the student's layer, not trainable.

    Raises:
        ExportError: A layer has no counterpart, or the logits are not the student's.

    Example:
        >>> twin = make_twin(ensemble.students[-1])
    """
    import tf_keras

    # The students of an ensemble share layers; in a copy each has one place.
    student = plain_student(student)
    # Keras gives operations in an order that has every input ready.
    images = tf_keras.Input(student.input_shape[1:], name=student.inputs[0].name)
    tensors = {id(student.inputs[0]): images}
    for operation in student.operations:
        if isinstance(operation, keras.layers.InputLayer):
            continue
        if len(keras_internals.inbound_nodes(operation)) != 1:
            raise _no_twin(operation, "a layer that is used more than once")
        given = [
            tensors[id(tensor)]
            for tensor in keras_internals.inbound_nodes(operation)[0].input_tensors
        ]
        result = _twin_layer(operation, tf_keras.layers)(given if len(given) > 1 else given[0])
        tensors[id(operation.output)] = result
    twin = tf_keras.Model(images, tensors[id(student.outputs[0])], name=student.name)
    copy_weights(student, twin)
    _check_logits(student, twin)
    return twin


def copy_weights(student: keras.Model, twin: Any) -> None:
    """Copies weights by layer name.

    Args:
        student: Keras 3 model.
        twin: Its twin, of `make_twin`.
    """
    for layer in student.layers:
        if type(layer).__name__ in _WITH_WEIGHTS:
            twin.get_layer(layer.name).set_weights(layer.get_weights())


def _twin_layer(layer: keras.Layer, layers: types.ModuleType) -> Callable[..., Any]:
    if not isinstance(layer, keras.Layer):
        raise _no_twin(layer, f"the operation {type(layer).__name__}")
    kind = type(layer).__name__
    # A family may derive a layer from Keras's to change how it computes, not what.
    bases = [base.__name__ for base in type(layer).__mro__ if base.__module__.startswith("keras.")]
    kind = next((name for name in bases if name in _COPIED), kind)
    if kind in ("Normalization", "Rescaling"):
        return _affine(layer, layers)
    if kind == "Activation":
        return activation_layers(layer.activation.__name__, layer, layers)
    if kind not in _COPIED or getattr(layer, "data_format", None) == "channels_first":
        raise _no_twin(layer, f"a {type(layer).__name__}")
    arguments = {name: getattr(layer, name) for name in _COPIED[kind]}
    # tf_keras's ReLU takes None for no bound as well, but no NumPy scalars.
    arguments = {k: v.item() if isinstance(v, np.generic) else v for k, v in arguments.items()}
    copy = getattr(layers, kind)(name=layer.name, **arguments)
    activation = getattr(layer, "activation", None)
    if activation is None or activation.__name__ == "linear":
        return copy
    behind = activation_layers(activation.__name__, layer, layers, f"{layer.name}_activation")
    return lambda inputs: behind(copy(inputs))


def activation_layers(
    activation: str, layer: keras.Layer, layers: types.ModuleType, name: str | None = None
) -> Callable[..., Any]:
    """An activation as layers whose operations all have int8 forms.

    Args:
        activation: Name of the activation in Keras.
        layer: Layer whose activation it is, for errors.
        layers: Module `tf_keras.layers`.
        name: Name of the new layer; the given layer's if None.

    Returns:
        Function from a tensor to a tensor.

    Raises:
        ExportError: There is no such form of it.
    """
    name = name or layer.name

    def hard_sigmoid(x: Any) -> Any:
        shifted = pointwise(layers, x.shape[-1], 1.0, 3.0, f"{name}_shift")(x)
        clipped = layers.ReLU(6.0, name=f"{name}_clip")(shifted)
        return pointwise(layers, x.shape[-1], 1 / 6, 0.0, f"{name}_scale")(clipped)

    forms: dict[str, Callable[..., Any]] = {
        "relu": layers.ReLU(name=name),
        "relu6": layers.ReLU(6.0, name=name),
        "sigmoid": layers.Activation("sigmoid", name=name),
        "silu": lambda x: layers.Multiply(name=name)(
            [x, layers.Activation("sigmoid", name=f"{name}_sigmoid")(x)]
        ),
        "hard_sigmoid": hard_sigmoid,
        "hard_silu": lambda x: layers.Multiply(name=name)([x, hard_sigmoid(x)]),
        "linear": layers.Activation("linear", name=name),
    }
    if activation not in forms:
        raise _no_twin(layer, f"the activation {activation}")
    return forms[activation]


def pointwise(
    layers: types.ModuleType, channels: int, scale: Any, offset: Any, name: str
) -> Callable[..., Any]:
    """x · scale + offset for each channel, as one `DepthwiseConv2D` that is not trained.

    Unlike a multiplication and an addition it keeps 32 bits between the two in int8.

    Args:
        layers: Module `tf_keras.layers`.
        channels: Number of channels of its input.
        scale: One number, or one a channel.
        offset: One number, or one a channel.
        name: Name of the layer.

    Returns:
        Function from a tensor to a tensor.
    """
    layer = layers.DepthwiseConv2D(1, name=name, trainable=False)

    def apply(x: Any) -> Any:
        flat = len(x.shape) == 2
        if flat:
            x = layers.Reshape((1, 1, channels), name=f"{name}_map")(x)
        result = layer(x)
        kernel = np.broadcast_to(np.asarray(scale, np.float32), channels).reshape(1, 1, -1, 1)
        layer.set_weights([kernel, np.broadcast_to(np.asarray(offset, np.float32), channels)])
        return layers.Flatten(name=f"{name}_flat")(result) if flat else result

    return apply


def _affine(layer: keras.Layer, layers: types.ModuleType) -> Callable[..., Any]:
    channels = layer.output.shape[-1]
    if len(layer.output.shape) != 4:
        raise _no_twin(layer, f"a {type(layer).__name__} of something else than images")
    if isinstance(layer, keras.layers.Rescaling):
        scale, offset = layer.scale, layer.offset
    else:
        mean, variance = np.ravel(layer.mean), np.ravel(layer.variance)
        scale = 1 / np.maximum(np.sqrt(variance), keras.backend.epsilon())
        offset = -mean * scale
    return pointwise(layers, channels, scale, offset, layer.name)


def _check_logits(student: keras.Model, twin: Any) -> None:
    shape = (4, *student.input_shape[1:])
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    expected = np.asarray(student(images, training=False), np.float32)
    largest = np.abs(np.asarray(twin(images, training=False)) - expected).max()
    if not largest <= TOLERANCE * max(1.0, np.abs(expected).max()):
        raise ExportError(
            f"The tf_keras twin of {student.name} must have its logits to {TOLERANCE:g}. "
            f"Received: a difference of {largest:g}"
        )


def _no_twin(operation: Any, what: str) -> ExportError:
    return ExportError(
        "A student must consist of layers that have a tf_keras twin to be fine-tuned for an "
        "export; export it as int8, dynamic or float16 instead. "
        f"Received: {what}, {operation.name}"
    )
