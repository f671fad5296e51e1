import keras
import numpy as np
import pytest
import tensorflow as tf

import oekd_tf
from oekd_tf.models.tensorflow.strided_convolution import subsample_first


def network(**arguments):
    inputs = keras.Input((9, 8, 5))
    outputs = keras.layers.Conv2D(7, 1, strides=2, padding="same", name="c", **arguments)(inputs)
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("arguments", [{}, {"use_bias": False}, {"activation": "relu"}])
def test_numbers_and_gradients_are_those_of_keras(rng, arguments):
    ours, stock = network(**arguments), network(**arguments)
    ours.set_weights(stock.get_weights())
    subsample_first(ours)
    assert ours.layers[1].call.__func__ is not keras.layers.Conv2D.call
    images = tf.constant(rng.normal(size=(2, 9, 8, 5)), tf.float32)
    results = []
    for model in (ours, stock):
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = model(images)
            loss = tf.reduce_sum(outputs**2)
        results.append([outputs, *tape.gradient(loss, [images, *model.trainable_variables])])
    for got, expected in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arguments", [{"kernel_size": 3, "strides": 2}, {"kernel_size": 1}])
def test_other_convolutions_stay_with_keras(arguments):
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(4, **arguments)(inputs))
    subsample_first(model)
    assert model.layers[1].call.__func__ is keras.layers.Conv2D.call


def test_narrow_students_train_on_larger_images(rng):
    # In a process that crashed with oneDNN on, as the binaries have it; see conftest.
    ensemble = oekd_tf.OnlineEnsemble(
        oekd_tf.backbones.CifarResNet(8), (64, 64, 3), 4, widths=(1.0, 0.25)
    )
    ensemble.compile("adam")
    images = rng.integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    history = ensemble.fit(images, rng.integers(0, 4, 16), batch_size=16, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
