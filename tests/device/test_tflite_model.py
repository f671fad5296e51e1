"""Raw images through TFLite files of every input type and batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from oekd_tf.core.native_output import quiet_native_output
from oekd_tf.device import TfliteModel

TYPES = {"float32": None, "int8": tf.int8, "uint8": tf.uint8, "int16x8": tf.int16}
SHAPE = (12, 10, 3)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (53, *SHAPE), dtype=np.uint8)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """The same network as SavedModels of batch 1, 4 and any."""
    keras.utils.set_random_seed(0)
    given = keras.Input(SHAPE)
    x = keras.layers.Rescaling(1 / 255)(given)
    x = keras.layers.Conv2D(8, 3, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    network = keras.Model(given, keras.layers.Dense(5)(x))
    found = {}
    for batch in (1, 4, None):
        folder = tmp_path_factory.mktemp("networks") / str(batch)
        signature = [keras.InputSpec(shape=(batch, *SHAPE), dtype="float32")]
        with quiet_native_output():
            network.export(folder, verbose=False, input_signature=signature)
        found[batch] = network, folder
    return found


def convert(folder, file_format, batch, images):
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
    if TYPES[file_format] is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            [np.repeat(image[None], batch or 1, 0).astype(np.float32)] for image in images[:20]
        )
        sets = tf.lite.OpsSet
        converter.target_spec.supported_ops = [
            sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            if file_format == "int16x8"
            else sets.TFLITE_BUILTINS_INT8
        ]
        converter.inference_input_type = converter.inference_output_type = TYPES[file_format]
    with quiet_native_output():
        return converter.convert()


@pytest.mark.parametrize("batch", [1, 4, None])
@pytest.mark.parametrize("file_format", list(TYPES))
def test_logits_are_the_networks(networks, images, file_format, batch):
    model = TfliteModel(convert(networks[batch][1], file_format, batch, images), threads=2)
    assert model.input["dtype"] == np.dtype(file_format.removesuffix("x8"))
    assert model.output["dtype"] == model.input["dtype"]
    assert (model.image_shape, model.batch_size) == (SHAPE, batch)
    expected = networks[None][0].predict(images.astype(np.float32), verbose=0)
    logits = model.logits(images)
    assert (logits.shape, logits.dtype) == ((53, 5), np.float32)
    # Eight bits of a logit's range; a wrong scale or order would be off by the range itself.
    tolerance = 1e-4 if file_format == "float32" else 0.05 * np.ptp(expected)
    np.testing.assert_allclose(logits, expected, atol=tolerance)
    np.testing.assert_array_equal(model.logits(images[:3].astype(np.float64)), logits[:3])
    assert model.logits(images[:0]).shape == (0, 5)


def test_reads_a_path(networks, images, tmp_path):
    content = convert(networks[1][1], "int8", 1, images)
    (tmp_path / "a.tflite").write_bytes(content)
    for path in (tmp_path / "a.tflite", str(tmp_path / "a.tflite")):
        np.testing.assert_array_equal(
            TfliteModel(path).logits(images[:2]), TfliteModel(content).logits(images[:2])
        )


def test_refusals(networks, images, tmp_path, capfd):
    (tmp_path / "text.tflite").write_text("not a model at all, but long enough for its header")
    with pytest.raises(ValueError, match=r"must be a TFLite file\. Received: .*text") as error:
        TfliteModel(tmp_path / "text.tflite")
    assert "\n" not in str(error.value)
    with pytest.raises(OSError, match="missing"):
        TfliteModel(tmp_path / "missing.tflite")
    model = TfliteModel(convert(networks[1][1], "float32", 1, images))
    with pytest.raises(ValueError, match=r"\(images, 12, 10, 3\)\. Received: \(53, 12, 10\)"):
        model.logits(images[..., 0])
    with pytest.raises(ValueError, match="Received"):
        model.logits(images[:, :5])
