import keras
import numpy as np
import pytest
import tensorflow as tf

from oekd_tf.models.tensorflow.fused_batch_norm import fuse_batch_norm
from oekd_tf.models.tensorflow.grouped_batch_norm import batch_norm, groups_for


def network(shape=(6, 5, 3), **arguments):
    inputs = keras.Input(shape)
    outputs = keras.layers.BatchNormalization(momentum=0.7, epsilon=1e-3, name="n", **arguments)(
        inputs
    )
    return keras.Model(inputs, outputs)


def step(model, images, weights):
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = model(images, training=True)
        loss = tf.reduce_sum(outputs * weights)
    return [outputs, *tape.gradient(loss, [images, *model.trainable_variables])]


# The kernel itself, and odd channels, of which pixels are taken together.
@pytest.mark.parametrize("shape", [(6, 5, 3), (8, 8, 9), (16, 4, 38), (16, 16, 3)])
@pytest.mark.parametrize("static", [True, False])
def test_a_training_step_is_that_of_keras(rng, static, shape):
    ours, stock = network(shape), network(shape)
    assert (groups_for((None, *shape)) > 1) == (shape != (6, 5, 3))
    values = [rng.uniform(0.5, 2.0, w.shape) for w in stock.get_weights()]
    ours.set_weights(values)
    stock.set_weights(values)
    fuse_batch_norm(ours)
    assert ours.layers[1].call.__func__ is not keras.layers.BatchNormalization.call
    images = tf.constant(rng.normal(3, 2, (4, *shape)), tf.float32)
    weights = tf.constant(rng.normal(size=(4, *shape)), tf.float32)
    spec = tf.TensorSpec((4 if static else None, *shape))
    results = [
        tf.function(lambda x, w, model=model: step(model, x, w), input_signature=[spec, spec])(
            images, weights
        )
        for model in (ours, stock)
    ]
    for got, expected in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    for got, expected in zip(ours.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    # Statistics to the last digits: images of nine channels have them from 256 values.
    mean, variance = (np.array(f(images, axis=(0, 1, 2))) for f in (np.mean, np.var))
    for got, old, new in zip(ours.get_weights()[2:], values[2:], (mean, variance), strict=True):
        np.testing.assert_allclose(got, 0.7 * old + 0.3 * new, rtol=1e-5)
    moved = np.abs(ours.get_weights()[2] - values[2]).max()
    assert moved > 0.1
    np.testing.assert_allclose(ours(images), stock(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "groups"),
    [
        ((None, 32, 32, 9), 16), ((8, 16, 16, 6), 8), ((None, 8, 8, 51), 16),
        ((None, 32, 32, 3), 16),
        # A multiple of four; pixels that cannot be shared out; unknown; too few values.
        ((None, 32, 32, 12), 1), ((None, 7, 7, 51), 1), ((None, None, 8, 9), 1), ((8, 4, 4, 9), 1),
    ],
)  # fmt: skip
def test_pixels_that_are_taken_together(shape, groups):
    assert groups_for(shape) == groups


def test_a_large_mean_costs_no_digits(rng):
    images = rng.normal(1000, 0.5, (16, 8, 8, 9)).astype(np.float32)
    outputs, mean, variance = batch_norm(
        tf.constant(images), tf.ones(9), tf.zeros(9), 1e-5, groups=16
    )
    exact = images.astype(np.float64)
    expected = (exact - exact.mean((0, 1, 2))) / np.sqrt(exact.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(outputs, expected, atol=2e-3)
    np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(variance, exact.var((0, 1, 2)), rtol=1e-4)


def test_a_frozen_layer_keeps_its_statistics(rng):
    model = network()
    fuse_batch_norm(model)
    model.layers[1].trainable = False
    before = model.get_weights()
    model(tf.constant(rng.normal(size=(4, 6, 5, 3)), tf.float32), training=True)
    for got, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    "arguments", [{"synchronized": True}, {"axis": 1}, {"scale": False}, {"dtype": "mixed_float16"}]
)
def test_what_the_kernel_cannot_do_stays_with_keras(arguments):
    model = network(**arguments)
    fuse_batch_norm(model)
    assert model.layers[1].call.__func__ is keras.layers.BatchNormalization.call


def test_the_saved_form_is_keras_own(tmp_path):
    model = network()
    fuse_batch_norm(model)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert type(loaded.layers[1]) is keras.layers.BatchNormalization
    assert loaded.layers[1].call.__func__ is keras.layers.BatchNormalization.call
