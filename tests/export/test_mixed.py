"""Int8 with the layers in float32 that lose most, on a student that int8 ruins."""

import json

import keras
import numpy as np
import pytest

from oekd_tf.cli import pick
from oekd_tf.device.card import TEXT
from oekd_tf.device.rescue import rescue_in_words
from oekd_tf.device.tflite_model import TfliteModel
from oekd_tf.export import export_students
from oekd_tf.export.formats.parts.mixed_precision import (
    by_gain,
    choose,
    expected_loss,
    layer_errors,
    within,
)
from oekd_tf.export.formats.parts.tflite_contents import layer_name


def _network(data, channels=(8, 8, 128)):
    images = keras.Input((28, 28, 1), name="images")
    x = keras.layers.Rescaling(1 / 255)(images)
    for name, count in zip(("first", "second", "third"), channels, strict=True):
        x = keras.layers.Conv2D(count, 3, strides=2, activation="relu", name=name)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    student = keras.Model(images, keras.layers.Dense(10, name="logits")(x), name="student_1")
    student.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    student.optimizer.learning_rate = 5e-3
    pixels, labels = next(data.train(1000, seed=0).as_numpy_iterator())
    student.fit(pixels, labels, batch_size=32, epochs=4, verbose=0)
    return student, pixels


def _ruin(student, images, factor=800.0):
    """The same function, of which int8 leaves little: one channel is far above all others."""
    first, second = student.get_layer("first"), student.get_layer("second")
    kernel, bias = first.get_weights()
    following, rest = second.get_weights()
    active = keras.Model(student.input, first.output).predict(images, verbose=0).max((0, 1, 2))
    # Of the channels that are there at all that which matters least: its weights are for nothing
    # in int8, with any activations.
    matters = active * np.abs(following).sum((0, 1, 3))
    channel = int(np.where(active > 0.1, matters, np.inf).argmin())
    kernel[..., channel] *= factor
    bias[channel] *= factor
    following[:, :, channel] /= factor
    first.set_weights([kernel, bias])
    second.set_weights([following, rest])


@pytest.fixture(scope="module", params=[pytest.param("float32", marks=pytest.mark.slow), "int16"])
def ruined(request, data, tmp_path_factory):
    """An export where the layers that lose fit in float32, and one where they do not."""
    keras.utils.set_random_seed(1)
    channels = {"float32": (8, 8, 128), "int16": (16, 48, 16)}[request.param]
    student, pixels = _network(data, channels)
    _ruin(student, pixels[:200])
    images, labels = data.test_arrays(300)
    output = tmp_path_factory.mktemp("ruined") / "run"
    said = []
    manifest = export_students(
        student, output, formats=("float32", "int8", "mixed"), calibration_images=pixels[:100],
        validation_images=pixels[500:900], test_images=images, test_labels=labels,
        contract=data.contract, max_accuracy_drop={"int8": 1.0, "mixed": 0.03}, processes=0,
        progress=said.append, micro_images=10,
    )  # fmt: skip
    return request.param, output, manifest["students"][0], said, images


def test_what_int8_loses_is_had_back_for_few_bytes(ruined):
    precision, _, entry, said, _ = ruined
    files = entry["formats"]
    assert files["int8"]["accuracy"] < entry["accuracy"] - 0.03
    assert files["mixed"]["accuracy"] > entry["accuracy"] - 0.03
    assert files["mixed"]["bytes"] < 1.25 * files["int8"]["bytes"]
    facts = files["mixed"]["rescue"]
    assert facts["expected_loss"] <= 0.005 < 0.05 < facts["expected_loss_int8"]
    kept = {x["name"]: x["precision"] for x in facts["layers"] if x["precision"] != "int8"}
    assert precision in kept.values()
    # What lies between these two is what int8 cannot hold.
    assert {"first", "second"} <= set(kept)
    assert len(kept) < len(facts["layers"])
    errors = {layer["name"]: layer["error"] for layer in facts["layers"]}
    assert min(errors["first"], errors["second"]) > 10 * errors["third"]
    words = {"float32": "in float32", "int16": "with int16 activations"}[precision]
    assert any(f"{words}, expected to lose" in line and "first" in line for line in said)


def test_the_file_holds_both(ruined):
    precision, output, entry, _, images = ruined
    facts = entry["formats"]["mixed"]
    assert {"int8", precision} <= set(facts["tensor_types"])
    assert facts["operations"]["QUANTIZE"] >= 1
    model = TfliteModel(output / facts["path"])
    assert (model.input["dtype"], model.output["dtype"]) == (np.int8, np.int8)
    assert np.isfinite(model.logits(images[:20])).all()
    assert facts["micro"]["agreement"] == 1.0
    assert facts["micro"]["largest_difference"] <= 1


def test_the_card_says_it(ruined, tmp_path):
    _, output, entry, _, _ = ruined
    picked = tmp_path / "picked"
    pick.main([f"--exports={output}", "--formats=mixed", f"--output={picked}"])
    words = rescue_in_words(entry["formats"]["mixed"]["rescue"])
    assert f"- {words}" in (picked / TEXT).read_text()


def test_a_student_that_loses_little_stays_in_int8(data, exported, tmp_path):
    del exported
    keras.utils.set_random_seed(1)
    student, pixels = _network(data)
    images, labels = data.test_arrays(300)
    manifest = export_students(
        student, tmp_path / "run", formats=("mixed",), calibration_images=pixels[:100],
        test_images=images, test_labels=labels, processes=0, progress=lambda line: None,
    )  # fmt: skip
    facts = manifest["students"][0]["formats"]["mixed"]
    assert facts["rescue"]["layers"] == []
    assert facts["rescue"]["expected_loss"] <= 0.005
    assert facts["rescue"]["images"] == 100
    assert "all layers in int8" in rescue_in_words(facts["rescue"])


def test_expected_loss_by_hand():
    reference = np.log([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.6, 0.3, 0.1]])
    logits = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
    assert expected_loss(reference, logits) == pytest.approx((0.0 + 0.3 + 0.3) / 3)
    assert expected_loss(reference, reference) == 0.0
    assert expected_loss(1e4 * reference, logits) == pytest.approx(2 / 3)
    logits[0, 0] = np.nan
    assert expected_loss(reference, logits) == 1.0


MORE_BYTES = {"stem": 300, "body": 15_000, "add": 0, "head": 600}


def _file_with(kept):
    more = sum(MORE_BYTES[name] for name in kept)
    return json.dumps(sorted(kept)).encode().ljust(10_000 + more)


def test_an_error_is_of_a_layer_that_is_alone_in_int8():
    reference = np.array([[1.0, 3.0], [3.0, 1.0]])

    def run(content):
        if content == b"add":
            return np.full((2, 2), np.nan)
        return reference + {b"stem": 1.0, b"body": 2.0, b"head": 0.0}[content]

    errors = layer_errors(list(MORE_BYTES), str.encode, run, reference)
    assert errors["stem"] == 1.0
    assert errors["body"] == 4.0
    assert errors["head"] == 0.0
    assert np.isfinite(errors["add"])
    assert errors["add"] > 1e30


def test_gain_is_for_a_byte_and_within_the_budget():
    errors = {"stem": 0.1, "body": 9.0, "add": 0.01, "head": 0.02}
    assert by_gain(MORE_BYTES, errors, 10**6) == ["body", "stem", "add", "head"]
    assert by_gain(MORE_BYTES, errors, 300) == ["stem", "add"]
    assert by_gain(MORE_BYTES, errors, 0) == ["add"]
    assert within(["body", "stem", "add", "head"], MORE_BYTES, 1_400) == ["stem", "add", "head"]


def test_as_few_as_it_takes():
    losses = {(): 0.3, ("stem",): 0.1, ("stem", "add"): 0.01, ("stem", "add", "head"): 0.0}

    def loss(content):
        found = json.loads(content)
        return losses[tuple(name for name in ("stem", "add", "head") if name in found)]

    order = [("stem", "float32"), ("add", "int16"), ("head", "float32")]
    found = choose(order, _file_with, loss, 12_500, 0.01)
    assert found.kept == {"stem": "float32", "add": "int16"}
    assert found.loss == 0.01
    assert json.loads(found.content) == ["add", "stem"]
    # Where the loss cannot be had, what fits.
    assert list(choose(order, _file_with, loss, 10_500, 0.001).kept) == ["stem", "add"]
    assert choose(order, _file_with, loss, 10_200, 0.001).kept == {}
    assert choose([], _file_with, loss, 12_500, 0.01).kept == {}


def test_layers_by_their_own_names():
    assert layer_name("student_1_1/conv_1/convolution", "student_1") == "conv"
    assert layer_name("student_1/conv_1/convolution", "student_1") == "conv_1"
    assert layer_name("student_1_2/a_2/add;student_1_2/b_2/mul;;", "student_1") == "a+b"
    assert layer_name("StatefulPartitionedCall:0", "student_1") == "StatefulPartitionedCall:0"
    assert layer_name("student_10/conv/convolution", "student_1") == "student_10/conv/convolution"
