"""Strided 1×1 convolutions as TensorFlow can train them safely."""

import types
from typing import Any

import keras
import tensorflow as tf


def subsample_first(model: keras.Model) -> None:
    """Makes strided 1×1 convolutions drop the pixels that they skip before they convolve.

    The numbers are the same. With oneDNN (TensorFlow 2.21 on x86), the kernel's gradient of such a
    convolution, a ResNet's shortcut, writes beyond its buffer where there are few channels, and
    the process dies: 4 to 8 channels at 64×64 are enough. Layers stay Keras's own, with the same
    weights and the same saved form.

    Args:
        model: A functional model; its layers are changed in place.

    Example:
        >>> subsample_first(keras.applications.ResNet50(weights=None))
    """
    for layer in model.layers:
        if type(layer) is keras.layers.Conv2D and _skips_pixels(layer):
            layer.call = types.MethodType(_call, layer)


def _skips_pixels(layer: keras.layers.Conv2D) -> bool:
    return (
        layer.kernel_size == (1, 1)
        and layer.strides != (1, 1)
        and layer.data_format == "channels_last"
        and layer.groups == 1
    )


def _call(self: keras.layers.Conv2D, inputs: Any) -> Any:
    if isinstance(inputs, keras.KerasTensor):
        return keras.layers.Conv2D.call(self, inputs)
    rows, columns = self.strides
    outputs = tf.nn.conv2d(inputs[:, ::rows, ::columns], self.kernel, 1, "VALID")
    if self.use_bias:
        outputs = outputs + self.bias
    return outputs if self.activation is None else self.activation(outputs)
