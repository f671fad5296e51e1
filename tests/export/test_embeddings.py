"""Features of students as models and as files."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from networks import small_ensemble

import oekd_tf
from oekd_tf.core.errors import ExportError, RefusedFilesError
from oekd_tf.core.files import sha256
from oekd_tf.export import embeddings


@pytest.fixture
def pictures(rng):
    return rng.integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)


def test_features_are_what_the_classifier_takes(pictures):
    student = small_ensemble().students[1]
    extractor = oekd_tf.feature_extractor(student)
    assert extractor.name == "student_2_features"
    assert extractor.output_shape == (None, 8)
    kernel, bias = student.layers[-1].get_weights()
    np.testing.assert_allclose(
        extractor.predict(pictures, verbose=0) @ kernel + bias,
        student.predict(pictures, verbose=0), rtol=1e-4, atol=1e-4,
    )  # fmt: skip
    # It follows the student's training.
    student.layers[1].set_weights([w + 1.0 for w in student.layers[1].get_weights()])
    assert extractor.count_params() == student.count_params() - kernel.size - bias.size


def test_features_are_float32_under_half_precision(pictures):
    student = small_ensemble(dtype="mixed_float16").students[0]
    assert oekd_tf.feature_extractor(student).predict(pictures, verbose=0).dtype == np.float32


@pytest.mark.parametrize("student", ["student_1", None])
def test_what_is_no_student(student):
    with pytest.raises(ValueError, match="student must be a functional model that ends with"):
        oekd_tf.feature_extractor(student)


def test_files_give_the_features(pictures, tmp_path):
    ensemble = small_ensemble()
    said = []
    found = embeddings.export_embeddings(
        ensemble, tmp_path / "out", formats=("float32", "int8"), test_images=pictures,
        calibration_images=pictures, progress=said.append,
    )  # fmt: skip
    assert found == json.loads((tmp_path / "out" / "embeddings.json").read_text())
    assert [entry["name"] for entry in found["students"]] == ["student_1", "student_2", "student_3"]
    assert [entry["dimensions"] for entry in found["students"]] == [16, 8, 4]
    assert len(said) == 6
    for entry, student in zip(found["students"], ensemble.students, strict=True):
        expected = oekd_tf.feature_extractor(student).predict(pictures, verbose=0)
        facts = entry["formats"]["float32"]
        path = tmp_path / "out" / facts["path"]
        assert sha256(path) == facts["sha256"]
        interpreter = Interpreter(str(path))
        interpreter.allocate_tensors()
        (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
        for picture, features in zip(pictures, expected, strict=True):
            interpreter.set_tensor(taken["index"], picture[None].astype(np.float32))
            interpreter.invoke()
            np.testing.assert_allclose(
                interpreter.get_tensor(given["index"])[0], features, rtol=1e-3, atol=1e-3
            )
        assert facts["cosine"] > 0.9999
        assert facts["neighbours"] == 1.0
        assert entry["formats"]["int8"]["input"]["dtype"] == "int8"
        assert entry["formats"]["int8"]["cosine"] >= entry["formats"]["int8"]["least_cosine"] > 0.9
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "embeddings.json", "student_1", "student_2", "student_3",
    ]  # fmt: skip


def test_a_file_that_keeps_too_little_is_left_out(pictures, tmp_path):
    student = small_ensemble().students[0]
    with pytest.raises(RefusedFilesError, match="int8: its features must have a mean cosine"):
        embeddings.export_embeddings(
            student, tmp_path / "out", formats=("float32", "int8"), test_images=pictures,
            calibration_images=np.zeros_like(pictures), min_cosine=0.99999, progress=print,
        )  # fmt: skip
    assert [p.name for p in (tmp_path / "out" / "student_1").iterdir()] == ["float32.tflite"]


def test_similarity_by_hand():
    expected = np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 2.0]])
    found = np.array([[4.0, 3.0], [2.0, 0.0], [0.0, 5.0]])
    kept = embeddings._kept(found, expected)
    assert kept.cosine == pytest.approx((0.96 + 1 + 1) / 3)
    assert kept.least_cosine == pytest.approx(0.96)
    # Nearest of the first is the third, and then the second.
    assert kept.neighbours == pytest.approx(2 / 3)
    assert embeddings._kept(np.full((3, 2), np.nan), expected).cosine == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"formats": ("mcu",)}, "formats must be among float32"),
        ({"formats": ()}, "formats must be among float32"),
        ({"calibration_images": None}, "calibration_images must be training images for int8"),
        ({"test_images": np.zeros((4, 8, 8, 3))}, r"test_images must be images of shape \(16"),
        ({"min_cosine": 2.0}, "min_cosine must be None, or from 0 to 1"),
        ({"students": keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten()])},
         "student must be a functional model"),
    ],
)  # fmt: skip
def test_refusals(arguments, message, pictures, tmp_path):
    given = {
        "students": small_ensemble(), "output": tmp_path / "out", "test_images": pictures,
        "calibration_images": pictures, **arguments,
    }  # fmt: skip
    with pytest.raises(ExportError, match=message):
        embeddings.export_embeddings(given.pop("students"), given.pop("output"), **given)
    assert not list(Path(tmp_path).iterdir())


def test_an_output_that_is_there(pictures, tmp_path):
    with pytest.raises(ExportError, match="must be a folder that is not there yet"):
        embeddings.export_embeddings(
            small_ensemble(), tmp_path, formats=("float32",), test_images=pictures
        )


@pytest.mark.integration
def test_on_the_command_line(tmp_path):
    import subprocess
    import sys

    from small_runs import environment, small_config

    from oekd_tf import training
    from oekd_tf.training.embeddings import export_embeddings_of_run

    training.train(small_config(epochs=1), tmp_path / "run", lambda line: None)
    command = [sys.executable, "-m", "oekd_tf", "embeddings", f"--workdir={tmp_path / 'run'}"]
    done = subprocess.run(
        [*command, "--formats=float32", "--students=student_2"], cwd=tmp_path,
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "savedmodels" / "small_embeddings"
    found = json.loads((folder / "embeddings.json").read_text())
    assert [entry["name"] for entry in found["students"]] == ["student_2"]
    assert found["contract"]["data"] == "fashion_mnist_mini"
    with pytest.raises(ExportError, match="not there yet"):
        export_embeddings_of_run(tmp_path / "run", folder, students=["student_2"])
