"""Fake quantization of weights and activations, as TFLite's int8 kernels will round them.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, https://arxiv.org/abs/1712.05877, section 3; the
grids are those of the TFLite int8 specification.
"""

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot

_DECAY = 0.99


class ActivationQuantizer(tfmot.quantization.keras.quantizers.Quantizer):
    """Eight bits between a moving average of each batch's smallest and largest value.

    tensorflow-model-optimization's own starts from −6 and 6 and forgets them over thousands of
    steps; this one starts from the first batch, so that a short fine-tuning is enough.
    """

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        def variable(what: str, value: float) -> Any:
            return layer.add_weight(
                name=f"{name}_{what}",
                shape=(),
                initializer=tf.constant_initializer(value),
                trainable=False,
            )

        return {what: variable(what, 0.0) for what in ("smallest", "largest", "batches")}

    def __call__(self, inputs: Any, training: bool, weights: dict, **_: Any) -> Any:
        smallest, largest, batches = (weights[w] for w in ("smallest", "largest", "batches"))
        if training:
            # The mean of the first batches, then a moving average. Zero is always on the grid.
            decay = tf.minimum(batches / (batches + 1.0), _DECAY)
            found = tf.minimum(tf.reduce_min(inputs), 0.0), tf.maximum(tf.reduce_max(inputs), 0.0)
            for range_end, value in zip((smallest, largest), found, strict=True):
                range_end.assign(decay * range_end + (1.0 - decay) * tf.stop_gradient(value))
            batches.assign_add(1.0)
        return tf.quantization.fake_quant_with_min_max_vars(
            inputs, smallest, tf.maximum(largest, smallest + 1e-3)
        )

    def get_config(self) -> dict[str, Any]:
        return {}


class WeightQuantizer(tfmot.quantization.keras.quantizers.Quantizer):
    """Eight bits, symmetric, with a scale of its own for each output channel, while training.

    In inference weights pass as they are: the converter puts the same grid on them, after it has
    folded the batch normalisation in, for which a rounding of their own would be in the way.

    Args:
        depthwise: Whether the channels are the last axis but one.
        keep: What of the weights is kept: "" for nothing, "zeros" for weights that are zero to
            stay so, or "clusters" for weights that are equal (within their layer) to stay equal,
            and zero.
    """

    def __init__(self, depthwise: bool = False, keep: str = ""):
        self.depthwise = depthwise
        self.keep = keep

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        if not self.keep:
            return {}
        # The layer is wrapped with its weights in place; what to keep is read from them.
        value = np.asarray(getattr(layer.layer, name))
        kept = {"nonzero": tf.constant(value != 0, tf.float32)}
        if self.keep == "clusters":
            values, indices = np.unique(value, return_inverse=True)
            kept["indices"] = tf.constant(indices.ravel(), tf.int32)
            kept["count"] = len(values)
        return kept

    def __call__(self, inputs: Any, training: bool, weights: dict, **_: Any) -> Any:
        if "indices" in weights:
            # A cluster's value is the mean of its weights, which its gradient moves together.
            flat = tf.reshape(inputs, [-1])
            means = tf.math.unsorted_segment_mean(flat, weights["indices"], weights["count"])
            inputs = tf.reshape(tf.gather(means, weights["indices"]), inputs.shape)
        if "nonzero" in weights:
            inputs = inputs * weights["nonzero"]
        if not training:
            return inputs
        channels = inputs.shape[-2] * inputs.shape[-1] if self.depthwise else inputs.shape[-1]
        kernel = tf.reshape(inputs, [-1, channels])
        largest = tf.maximum(tf.stop_gradient(tf.reduce_max(tf.abs(kernel), 0)), 1e-6)
        rounded = tf.quantization.fake_quant_with_min_max_vars_per_channel(
            kernel, -largest, largest, narrow_range=True
        )
        return tf.reshape(rounded, inputs.shape)

    def get_config(self) -> dict[str, Any]:
        return {"depthwise": self.depthwise, "keep": self.keep}
