"""Each private name of Keras and TensorFlow, so that a new release is known to fit or not."""

import sys

import keras
import numpy as np
import pytest

from oekd_tf.core import keras_internals, tensorflow_internals


def small_model():
    images = keras.Input((4,), name="images")
    hidden = keras.layers.Dense(3, name="hidden")(images)
    return keras.Model(images, keras.layers.Dense(2, name="logits")(hidden))


def test_before_first_step_is_called_with_the_steps_of_an_epoch():
    class Model(keras_internals.BuiltModel, keras.Model):
        steps = ()

        def before_first_step(self, steps_per_epoch):
            self.steps = (*self.steps, steps_per_epoch)

    plain = small_model()
    model = Model(plain.inputs, plain.outputs)
    model.compile("sgd", loss="mse")
    model.fit(np.zeros((12, 4)), np.zeros((12, 2)), batch_size=4, verbose=0)
    assert model.steps == (3,)


def test_symbolic_build():
    model = small_model()
    model.compile("sgd", loss="mse", metrics=["mae"])
    labels = keras.KerasTensor((None, 2))
    keras_internals.symbolic_build(model, keras.KerasTensor((None, 4)), labels)
    assert "mae" in model.get_metrics_result()


def test_loss_tracker():
    model = small_model()
    model.compile("sgd", loss="mse")
    assert keras_internals.loss_tracker(model) is model.metrics[0]
    assert keras_internals.loss_tracker(model).name == "loss"


def test_monitors_blindly():
    for make in (keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau):
        assert keras_internals.monitors_blindly(make(monitor="val_accuracy"))
        assert not keras_internals.monitors_blindly(make(monitor="val_accuracy", mode="max"))
    assert keras_internals.monitors_blindly(keras.callbacks.ModelCheckpoint("a.keras"))
    assert not keras_internals.monitors_blindly(keras.callbacks.TerminateOnNaN())


def test_replaced_random():
    def twice(draw):
        return lambda shape, **kwargs: 2.0 * draw(shape, **kwargs)

    initializer = keras.initializers.RandomNormal(seed=1)
    before = np.array(initializer((3, 2)))
    with keras_internals.replaced_random({"normal": twice}):
        np.testing.assert_allclose(initializer((3, 2)), 2 * before)
    np.testing.assert_array_equal(initializer((3, 2)), before)


def test_variable_index():
    model = small_model()
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(model.trainable_variables)
    found = [keras_internals.variable_index(optimizer, v) for v in model.trainable_variables]
    assert found == list(range(4))
    for variable, index in zip(model.trainable_variables, found, strict=True):
        assert optimizer.momentums[index].shape == variable.shape


def test_clip_gradients():
    optimizer = keras.optimizers.SGD(0.1, global_clipnorm=1.0)
    gradients = [keras.ops.array([3.0, 0.0]), keras.ops.array([0.0, 4.0])]
    clipped = keras_internals.clip_gradients(optimizer, gradients)
    np.testing.assert_allclose(np.stack(clipped), [[0.6, 0.0], [0.0, 0.8]], rtol=1e-5)


def test_run_through_graph():
    model = small_model()
    other = keras.Input((4,))
    seen = []

    def renamed(operation):
        seen.append(operation.name)
        return type(operation).from_config({**operation.get_config(), "name": f"new_{len(seen)}"})

    outputs = keras_internals.run_through_graph(model, other, renamed)
    copy = keras.Model(other, outputs)
    assert seen == ["hidden", "logits"]
    assert copy.output_shape == (None, 2)
    assert not {id(layer) for layer in copy.layers} & {id(layer) for layer in model.layers}


def test_inbound_nodes_and_made_by():
    model = small_model()
    hidden, logits = model.get_layer("hidden"), model.get_layer("logits")
    (node,) = keras_internals.inbound_nodes(logits)
    (tensor,) = node.input_tensors
    assert keras_internals.made_by(tensor) is hidden


def test_nodes_in_order_of_a_functional_and_a_sequential_model():
    sequential = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="one")])
    for model, expected in ((small_model(), ["hidden", "logits"]), (sequential, ["one"])):
        graph = keras_internals.graph_of(model)
        assert len(graph.inputs) == len(graph.outputs) == 1
        nodes = keras_internals.nodes_in_order(graph)
        assert [node.operation.name for node in nodes] == expected
        args, kwargs = nodes[0].arguments.fill_in({id(graph.inputs[0]): "images"})
        assert "images" in [*args, *kwargs.values()]


def test_variable_path():
    model = small_model()
    optimizer = keras.optimizers.SGD()
    optimizer.build(model.trainable_variables)
    for variable in model.trainable_variables:
        for form in (variable, variable.value):
            assert keras_internals.variable_path(optimizer, form) == variable.path


def test_has_merge_call(mirrored):
    assert tensorflow_internals.has_merge_call(mirrored)


def test_start_coordination_is_asked_for_in_time():
    """What it sets takes effect with the first strategy; here there is none of several hosts."""
    context = tensorflow_internals.context.context()
    assert hasattr(context, "coordination_service")
    assert not tensorflow_internals.is_connected()
    assert callable(context.configure_coordination_service)


def test_a_layer_that_is_unlocked_makes_variables():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    with keras_internals.unlocked(layer):
        layer.more = layer.add_weight(shape=(4,), trainable=False, name="more")
    assert layer.more is layer.non_trainable_variables[0]
    with pytest.raises(ValueError, match="already built"):
        layer.again = keras.layers.Dense(1)


def test_models_of_any_depth():
    images = keras.Input((2,))
    hidden = images
    for _ in range(400):
        hidden = keras.layers.Activation("relu")(hidden)
    deep = keras.Model(images, hidden)
    limit = sys.getrecursionlimit()
    with keras_internals.deep_recursion():
        assert sys.getrecursionlimit() > limit
        assert len(keras.models.clone_model(deep).layers) == 401
    assert sys.getrecursionlimit() == limit
