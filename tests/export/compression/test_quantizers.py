"""Fake quantization against grids worked out in NumPy."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from oekd_tf.export.compression.quantizers import ActivationQuantizer, WeightQuantizer


def rounded(kernel, axes):
    scale = np.abs(kernel).max(axes, keepdims=True) / 127
    return np.round(kernel / scale) * scale


class Wrapper(tf_keras.layers.Layer):
    """What tensorflow-model-optimization hands to a quantizer."""

    def __init__(self, kernel):
        super().__init__()
        self.layer = tf.Module()
        self.layer.kernel = tf.Variable(kernel)


@pytest.mark.parametrize(("depthwise", "axes"), [(False, (0, 1, 2)), (True, (0, 1))])
def test_each_channel_of_a_kernel_has_a_scale(rng, depthwise, axes):
    kernel = rng.normal(0, [1, 10, 0.1], (3, 3, 4, 3)).astype(np.float32)
    quantizer = WeightQuantizer(depthwise)
    found = quantizer(tf.constant(kernel), training=True, weights={})
    np.testing.assert_allclose(found, rounded(kernel, axes), rtol=1e-4, atol=1e-6)
    # In inference the converter rounds.
    np.testing.assert_array_equal(quantizer(kernel, training=False, weights={}), kernel)


@pytest.mark.parametrize("training", [True, False])
def test_zeros_and_clusters_stay(rng, training):
    kernel = rng.choice([-0.5, 0.0, 0.25, 1.0], (3, 3, 2, 4)).astype(np.float32)
    wrapper = Wrapper(kernel)
    for keep, values in (("zeros", None), ("clusters", 4)):
        quantizer = WeightQuantizer(keep=keep)
        kept = quantizer.build(kernel.shape, "kernel", wrapper)
        moved = kernel + rng.normal(0, 0.01, kernel.shape).astype(np.float32)
        found = quantizer(tf.constant(moved), training=training, weights=kept).numpy()
        assert ((found == 0) == (kernel == 0)).all()
        if values and not training:
            assert len(np.unique(found)) == values
            # Each is the mean of what its weights have become.
            assert found[kernel == 1.0][0] == pytest.approx(moved[kernel == 1.0].mean())


def test_a_clusters_weights_share_their_gradient(rng):
    kernel = np.array([[1.0, 1.0], [2.0, 2.0], [2.0, 0.0]], np.float32)
    quantizer = WeightQuantizer(keep="clusters")
    kept = quantizer.build(kernel.shape, "kernel", Wrapper(kernel))
    weights = tf.Variable(kernel)
    with tf.GradientTape() as tape:
        used = quantizer(weights, training=True, weights=kept)
        loss = tf.reduce_sum(used * np.array([[1.0, 3.0], [2.0, 4.0], [6.0, 100.0]], np.float32))
    # The mean of the members' gradients, and none for zeros.
    np.testing.assert_allclose(tape.gradient(loss, weights), [[2, 2], [4, 4], [4, 0]], rtol=1e-6)


def test_activations_range_is_the_mean_then_moves():
    layer = tf_keras.layers.Layer()
    quantizer = ActivationQuantizer()
    state = quantizer.build((None, 4), "output", layer)
    for largest in (2.0, 4.0, 6.0):
        quantizer(tf.constant([[0.0, 0.5, 1.0, largest]]), training=True, weights=state)
    assert state["largest"].numpy() == pytest.approx(4.0)
    assert state["smallest"].numpy() == 0.0
    # In inference the range stays, values outside are clipped, the rest is on a grid of 255 steps.
    found = quantizer(tf.constant([[-1.0, 0.5, 1.0, 9.0]]), training=False, weights=state).numpy()
    scale = 4.0 / 255
    np.testing.assert_allclose(
        found, [[0.0, np.round(0.5 / scale) * scale, np.round(1 / scale) * scale, 4.0]], rtol=1e-5
    )
    assert state["largest"].numpy() == pytest.approx(4.0)


def test_positive_activations_have_zero_on_their_grid():
    layer = tf_keras.layers.Layer()
    quantizer = ActivationQuantizer()
    state = quantizer.build((None, 2), "output", layer)
    quantizer(tf.constant([[5.0, 6.0]]), training=True, weights=state)
    assert state["smallest"].numpy() == 0.0
