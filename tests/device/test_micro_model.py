"""TensorFlow Lite Micro's own interpreter on real files and images."""

import subprocess
import sys

import numpy as np
import pytest

from oekd_tf.device import TfliteModel
from oekd_tf.device.arena import least_arena
from oekd_tf.device.micro_model import MicroModel

FILES = [(1, "int8"), (1, "float32"), (2, "int8"), (2, "float32")]


@pytest.fixture(scope="module")
def images(data):
    return data.test_arrays(100)[0]


@pytest.mark.parametrize(("number", "form"), FILES)
def test_answers_are_those_of_litert(exported, images, number, form):
    path = exported / f"student_{number}" / f"{form}.tflite"
    model = MicroModel(path)
    found, plain = model.logits(images), TfliteModel(path, reference=True).logits(images)
    if form == "int8":
        steps = np.abs(found - plain) / model.output_scale
        assert steps.max() <= 1.001
        assert (steps > 0.5).mean() < 0.05
    else:
        np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-4)
    fast = TfliteModel(path).logits(images)
    assert (found.argmax(-1) == fast.argmax(-1)).mean() > 0.95
    assert found.shape == (100, 10)


@pytest.mark.parametrize(("number", "form"), FILES)
def test_the_arena_is_enough_and_little_less_is_not(exported, number, form):
    content = (exported / f"student_{number}" / f"{form}.tflite").read_bytes()
    needed = least_arena(content)
    assert needed % 16 == 0
    assert MicroModel(content, needed).arena_bytes == needed
    assert MicroModel(content, 2 * needed).arena_bytes == 2 * needed
    for less in (needed - 16, int(0.95 * needed), 100):
        with pytest.raises(ValueError, match=rf"in {less:,} bytes, .*starts in {needed:,} bytes"):
            MicroModel(content, less)


def test_integers_need_less_than_floats(exported):
    int8, float32 = (
        MicroModel(exported / "student_1" / f"{form}.tflite").arena_bytes
        for form in ("int8", "float32")
    )
    assert int8 < 0.6 * float32


def test_an_image_is_stored_as_training_saw_it(exported, images):
    model = MicroModel(exported / "student_2" / "int8.tflite")
    stored = model.stored_input(images[0])
    np.testing.assert_array_equal(stored[0], images[0].astype(int) - 128)
    (scale, zero), logits = model.scales[1], model.logits(images[:1])[0]
    np.testing.assert_allclose(logits, scale * (model.stored_output(images[0]) - float(zero)))


def test_what_does_not_run_there(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"TFL3" * 100)
    with pytest.raises(ValueError, match=r"^TensorFlow Lite Micro must be able to run a model\. "):
        MicroModel(path)


def test_without_the_interpreter(exported):
    path = exported / "student_2" / "int8.tflite"
    program = (
        "import sys; sys.modules['tflite_micro'] = None\n"
        "from oekd_tf.device.micro_model import MicroModel\n"
        f"try:\n    MicroModel({str(path)!r})\nexcept ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == ("TensorFlow Lite Micro is not installed: pip install 'oekd-tf[mcu]'\n")
