import keras
import numpy as np
import pytest
import tensorflow as tf

from oekd_tf.models.tensorflow.fused_batch_norm import fuse_batch_norm


def network(**arguments):
    inputs = keras.Input((6, 5, 3))
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


@pytest.mark.parametrize("static", [True, False])
def test_a_training_step_is_that_of_keras(rng, static):
    ours, stock = network(), network()
    values = [rng.uniform(0.5, 2.0, w.shape) for w in stock.get_weights()]
    ours.set_weights(values)
    stock.set_weights(values)
    fuse_batch_norm(ours)
    assert ours.layers[1].call.__func__ is not keras.layers.BatchNormalization.call
    images = tf.constant(rng.normal(3, 2, (4, 6, 5, 3)), tf.float32)
    weights = tf.constant(rng.normal(size=(4, 6, 5, 3)), tf.float32)
    spec = tf.TensorSpec((4 if static else None, 6, 5, 3))
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
    moved = np.abs(ours.get_weights()[2] - values[2]).max()
    assert moved > 0.1
    np.testing.assert_allclose(ours(images), stock(images), rtol=1e-4, atol=1e-5)


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
