"""Peak memory of activations, against hand counts and against LiteRT's own arena."""

import keras
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from oekd_tf.core.native_output import quiet_native_output
from oekd_tf.device.activation_memory import peak_activation_bytes
from oekd_tf.device.exported import exported_files, read_export


def convert(network, tmp_path, batch=1, half=False):
    signature = [keras.InputSpec(shape=(batch, *network.input_shape[1:]), dtype="float32")]
    with quiet_native_output():
        network.export(tmp_path / "network", verbose=False, input_signature=signature)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "network"))
        if half:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        return converter.convert()


@pytest.mark.parametrize("batch", [1, None])
def test_chain_holds_two_maps_and_the_input(tmp_path, batch):
    images = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(5, 3, padding="same", activation="relu")(images)
    x = keras.layers.Conv2D(7, 3, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(1, 3, padding="same", activation="relu")(x)
    content = convert(keras.Model(images, x), tmp_path, batch)
    # The second convolution: the input is kept, 5 maps are read, 7 written, of 8×8 floats.
    assert peak_activation_bytes(content) == 4 * 64 * (2 + 5 + 7)
    per_image = peak_activation_bytes(content, batch_size=3) / peak_activation_bytes(content)
    assert per_image == (3 if batch is None else 1)


def test_shortcut_is_alive_across_what_it_skips(tmp_path):
    images = keras.Input((8, 8, 2))
    shortcut = keras.layers.Conv2D(6, 3, padding="same", activation="relu")(images)
    x = keras.layers.Conv2D(3, 3, padding="same", activation="relu")(shortcut)
    x = keras.layers.Conv2D(6, 3, padding="same")(x)
    x = keras.layers.Add()([x, shortcut])
    x = keras.layers.GlobalAveragePooling2D()(x)
    content = convert(keras.Model(images, x), tmp_path)
    # The addition: input, shortcut, what is added, and the sum; the output comes later.
    assert peak_activation_bytes(content) == 4 * 64 * (2 + 6 + 6 + 6)


def test_is_the_span_of_the_interpreters_own_arena(tmp_path):
    """Depthwise convolutions need no scratch memory: the arena then holds activations only."""
    images = keras.Input((16, 16, 4))
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu")(images)
    shortcut = x
    x = keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=3, activation="relu")(x)
    x = keras.layers.MaxPooling2D(2)(x)
    shortcut = keras.layers.DepthwiseConv2D(3, 2, padding="same", depth_multiplier=3)(shortcut)
    x = keras.layers.Add()([x, shortcut])
    content = convert(keras.Model(images, keras.layers.MaxPooling2D(2)(x)), tmp_path)
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    ends = []
    for index, tensor in enumerate(tree.subgraphs[0].tensors):
        if tree.buffers[tensor.buffer].data is None:
            values = interpreter.tensor(index)()
            start = values.__array_interface__["data"][0]
            ends += [start, start + values.nbytes]
    assert peak_activation_bytes(content) == max(ends) - min(ends)


def test_weights_that_are_unpacked_are_no_activations(tmp_path):
    images = keras.Input((8, 8, 2))
    network = keras.Model(images, keras.layers.Conv2D(64, 7, padding="same")(images))
    found = {}
    for half in (False, True):
        content = convert(network, tmp_path / str(half), half=half)
        found[half] = peak_activation_bytes(content), len(content)
    assert found[True][1] < 0.6 * found[False][1]
    assert found[True][0] == found[False][0] == 4 * 64 * (2 + 64)


def test_of_exported_files(exported):
    sizes = {
        file.key: peak_activation_bytes((exported / file.facts["path"]).read_bytes())
        for file in exported_files(read_export(exported), formats=["float32", "int8"])
    }
    # One image and the first convolution's map, 13×13 of 16 channels.
    assert sizes["student_1/int8"] == 28 * 28 + 13 * 13 * 16 + 6 * 6 * 32
    assert sizes["student_1/float32"] == 4 * sizes["student_1/int8"]
    assert sizes["student_2/int8"] < sizes["student_1/int8"]
