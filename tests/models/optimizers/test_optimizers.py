"""The fused updates against Keras's own, and L2 against its formula."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from oekd_tf.models import optimizers


def train(optimizer, steps=5):
    """Weights of a kernel and a bias after some steps on fixed gradients."""
    rng = np.random.default_rng(0)
    kernel = keras.Variable(rng.normal(size=(3, 4)).astype("float32"), name="kernel")
    bias = keras.Variable(rng.normal(size=(4,)).astype("float32"), name="bias")
    gradients = rng.normal(size=(steps, 16)).astype("float32")
    optimizer.build([kernel, bias])

    @tf.function
    def step(gradient):
        optimizer.apply([tf.reshape(gradient[:12], (3, 4)), gradient[12:]], [kernel, bias])

    for gradient in gradients:
        step(tf.constant(gradient))
    return kernel.numpy(), bias.numpy()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Adam", {}),
        ("Adam", {"learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}),
        ("Adam", {"weight_decay": 0.1}),
        ("Adam", {"amsgrad": True}),
        ("Adam", {"global_clipnorm": 0.1}),
        ("Adam", {"gradient_accumulation_steps": 2}),
        ("Adam", {"learning_rate": keras.optimizers.schedules.CosineDecay(0.1, 5)}),
        ("SGD", {"learning_rate": 0.1}),
        ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
        ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}),
    ],
)
def test_equals_keras(name, arguments):
    ours = train(getattr(optimizers, name)(**arguments))
    theirs = train(getattr(keras.optimizers, name)(**arguments))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_l2_is_added_to_kernels_gradients_only(momentum):
    kernel = keras.Variable(np.full((2, 2), 3.0, "float32"))
    bias = keras.Variable(np.full((2,), 3.0, "float32"))
    optimizer = optimizers.SGD(0.5, momentum, l2=0.1)
    optimizer.build([kernel, bias])
    optimizer.apply([tf.ones((2, 2)), tf.ones((2,))])
    np.testing.assert_allclose(kernel.numpy(), 3.0 - 0.5 * (1 + 0.1 * 3.0))
    np.testing.assert_allclose(bias.numpy(), 3.0 - 0.5)


def test_l2_in_adam_goes_through_its_moments():
    kernel = keras.Variable(np.full((2, 2), 3.0, "float32"))
    optimizer = optimizers.Adam(l2=0.1)
    optimizer.build([kernel])
    optimizer.apply([tf.ones((2, 2))])
    # The first moment after one step is (1 - beta_1) times the gradient.
    np.testing.assert_allclose(optimizer.variables[2].numpy(), 0.1 * 1.3, rtol=1e-5)


def test_the_fused_graph_is_small():
    variables = [keras.Variable(np.ones((2, 2), "float32")) for _ in range(50)]
    sizes = {}
    for optimizer in (optimizers.Adam(), keras.optimizers.Adam()):
        optimizer.build(variables)

        @tf.function
        def step(optimizer=optimizer):
            optimizer.apply([tf.ones((2, 2))] * 50)

        graph = step.get_concrete_function().graph
        sizes[type(optimizer).__module__.split(".")[0]] = len(graph.get_operations())
    assert sizes["oekd_tf"] < sizes["keras"] / 4


@pytest.mark.parametrize("optimizer", [optimizers.Adam(l2=0.1), optimizers.SGD(0.1, 0.9, l2=0.2)])
def test_config_round_trip(optimizer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert again.get_config() == optimizer.get_config()
    assert again.l2 == optimizer.l2 > 0


def test_get():
    assert isinstance(optimizers.get("adam"), optimizers.Adam)
    assert isinstance(optimizers.get("SGD"), optimizers.SGD)
    assert isinstance(optimizers.get("rmsprop"), keras.optimizers.RMSprop)
    own = keras.optimizers.Adam()
    assert optimizers.get(own) is own


def test_negative_l2():
    with pytest.raises(ValueError, match=r"l2 must be at least 0\. Received: -1"):
        optimizers.Adam(l2=-1)
