"""Batch normalisation in training as one TensorFlow operation."""

import types
from typing import Any

import keras
import tensorflow as tf

from oekd_tf.models.tensorflow.grouped_batch_norm import batch_norm, channel_values, groups_for


def fuse_batch_norm(model: keras.Model) -> None:
    """Makes the model's batch normalisations compute a training step with a fused kernel.

    Keras writes a training step of this layer as some 25 small operations and as many for its
    gradient: in a deep ensemble, half of what must be traced before the first step. The layers
    stay Keras's own, with the same weights, numbers and saved form; only layers of that very class
    that see 4-D float32 tensors with channels last, on one replica's statistics, are touched, and
    evaluation is not.

    Args:
        model: A functional model; its layers are changed in place.

    Example:
        >>> fuse_batch_norm(keras.applications.ResNet50(weights=None))
    """
    for layer in model.layers:
        if type(layer) is keras.layers.BatchNormalization and _can_be_fused(layer):
            layer.call = types.MethodType(_call, layer)


def _can_be_fused(layer: keras.layers.BatchNormalization) -> bool:
    return (
        layer.compute_dtype == "float32"
        and layer.axis in (-1, 3)
        and layer.input_spec.ndim == 4
        and layer.scale
        and layer.center
        and not layer.synchronized
        and not layer.renorm
    )


def _call(
    self: keras.layers.BatchNormalization,
    inputs: Any,
    training: bool | None = None,
    mask: Any = None,
) -> Any:
    if (
        not (training and self.trainable)
        or mask is not None
        or isinstance(inputs, keras.KerasTensor)
    ):
        return keras.layers.BatchNormalization.call(self, inputs, training=training, mask=mask)
    if (groups := groups_for(inputs.shape)) > 1:
        y, mean, variance = batch_norm(
            inputs, self.gamma.value, self.beta.value, self.epsilon, groups
        )
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(self.momentum * moving.value + (1.0 - self.momentum) * value)
        return y
    # The kernel's variance divides by n - 1 where Keras's divides by n.
    correction = _population_share(inputs)
    outputs = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=self.gamma.value,
        offset=self.beta.value,
        mean=self.moving_mean.value,
        variance=self.moving_variance.value / correction,
        epsilon=self.epsilon,
        exponential_avg_factor=1.0 - self.momentum,
        is_training=True,
    )
    self.moving_mean.assign(outputs.batch_mean)
    self.moving_variance.assign(outputs.batch_variance * correction)
    return outputs.y


def _population_share(inputs: tf.Tensor) -> Any:
    """(n - 1) / n of the n values that each channel's statistics are taken over."""
    count = channel_values(inputs)
    count = max(2.0, count) if isinstance(count, float) else tf.maximum(2.0, count)
    return (count - 1.0) / count
