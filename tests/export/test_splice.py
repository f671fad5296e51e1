"""A spliced file is each of its sources where it is of one precision, and runs otherwise."""

import keras
import numpy as np
import pytest

import oekd_tf
from oekd_tf.device.tflite_model import TfliteModel
from oekd_tf.export import formats
from oekd_tf.export.formats.parts import tflite_contents
from oekd_tf.export.formats.parts.signature import write_converter_input
from oekd_tf.export.formats.parts.splice import Splicer
from oekd_tf.export.plain_student import plain_student
from oekd_tf.export.probe import probe_student

PRECISIONS = {"int8": "int8", "int16": "int16x8", "float32": "float32"}


def _files(network, images, folder, precisions=PRECISIONS, batch_size=1):
    write_converter_input(plain_student(network), folder, batch_size)
    files = {}
    for name, format_name in precisions.items():
        kind = formats.kind(format_name)
        calibration = images if kind.calibrated else None
        files[name] = kind.convert(formats.Source(folder, network.name, calibration))
    return files


def _random(network, rng):
    weights = [
        w * rng.uniform(0.5, 1.5, w.shape) if np.ptp(w) else rng.uniform(0.5, 1.0, w.shape)
        for w in network.get_weights()
    ]
    network.set_weights(weights)
    return network


@pytest.fixture(
    scope="module",
    params=["CifarResNet", "DenseNet", pytest.param("MobileNetV2", marks=pytest.mark.slow)],
)
def family(request, tmp_path_factory):
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    backbone = {
        "CifarResNet": lambda: oekd_tf.backbones.CifarResNet(8),
        # Its branches meet in concatenations, which the converter quantizes to one scale.
        "DenseNet": lambda: oekd_tf.backbones.DenseNet(10, 6),
        "MobileNetV2": lambda: oekd_tf.backbones.MobileNetV2(0.35),
    }[request.param]()
    images = rng.integers(0, 256, (16, 32, 32, 3), np.uint8)
    network = _random(probe_student(backbone, (32, 32, 3), 10, 0.5), rng)
    return _files(network, images, tmp_path_factory.mktemp("network")), images


def _error(logits, reference):
    return np.sqrt(np.square(logits - reference).mean()) / reference.std()


def test_all_of_the_first_is_the_first(family):
    files, images = family
    for order in (("int8", "float32"), ("float32", "int8"), ("int16", "int8")):
        splicer = Splicer({name: files[name] for name in order})
        content = splicer.splice({})
        np.testing.assert_array_equal(
            TfliteModel(content).logits(images), TfliteModel(files[order[0]]).logits(images)
        )
        found, expected = map(tflite_contents.read, (content, files[order[0]]))
        assert found.operations == expected.operations
        assert len(content) <= len(files[order[0]])


@pytest.mark.parametrize("precision", ["int16", "float32"])
def test_all_of_another_is_that_one_but_for_its_ends(family, precision):
    files, images = family
    splicer = Splicer({"int8": files["int8"], precision: files[precision]})
    model = TfliteModel(splicer.splice(dict.fromkeys(splicer.operations, precision)))
    assert model.input["dtype"] == model.output["dtype"] == np.int8
    logits, reference = model.logits(images), TfliteModel(files[precision]).logits(images)
    scale, zero_point = model.output["quantization"]
    held = np.clip(reference, scale * (-128 - zero_point), scale * (127 - zero_point))
    # What the last quantization rounds to.
    np.testing.assert_allclose(logits, held, atol=0.51 * scale)


def test_any_mixture_runs(family):
    files, images = family
    rng = np.random.default_rng(1)
    reference = TfliteModel(files["float32"]).logits(images)
    in_int8 = _error(TfliteModel(files["int8"]).logits(images), reference)
    splicer = Splicer(files)
    for _ in range(4):
        chosen = {name: str(rng.choice(list(files))) for name in splicer.operations}
        content = splicer.splice(chosen)
        assert {"int8", "int16", "float32"} <= set(tflite_contents.read(content).tensor_types)
        assert _error(TfliteModel(content).logits(images), reference) < 1.5 * in_int8


def test_constants_are_those_of_the_operation(family):
    splicer = Splicer(family[0])
    sizes = {
        name: sum(splicer.constant_bytes(name, one) for one in splicer.operations)
        for name in ("int8", "int16", "float32")
    }
    assert sizes["int8"] < sizes["int16"] < 0.5 * sizes["float32"]
    assert any("logits" in name for name in splicer.constants("int8", splicer.operations[-1]))


def test_a_free_batch_stays_free(tmp_path, rng):
    network = probe_student(oekd_tf.backbones.CifarResNet(8), (16, 16, 1), 10, 0.3)
    images = rng.integers(0, 256, (12, 16, 16, 1), np.uint8)
    files = _files(_random(network, rng), images, tmp_path, batch_size=None)
    splicer = Splicer(files)
    content = splicer.splice(dict.fromkeys(splicer.operations[3:7], "float32"))
    logits = TfliteModel(content).logits(images)
    one_by_one = [TfliteModel(content).logits(images[i : i + 1]) for i in range(3)]
    np.testing.assert_allclose(logits[:3], np.concatenate(one_by_one), atol=1e-5)


def test_other_networks_are_refused(tmp_path, rng):
    images = rng.integers(0, 256, (4, 16, 16, 1), np.uint8)
    files = []
    for number, depth in enumerate((8, 14)):
        network = probe_student(oekd_tf.backbones.CifarResNet(depth), (16, 16, 1), 10, 0.3)
        folder = tmp_path / str(number)
        files.append(_files(network, images, folder, {"float32": "float32"})["float32"])
    with pytest.raises(ValueError, match=r"must be of the same operations\. Received: 17 in a and"):
        Splicer(dict(zip("ab", files, strict=True)))
