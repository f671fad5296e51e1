"""Exports of students trained on the embedded images."""

import hashlib
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from student_checks import check_student

import oekd_tf
from oekd_tf.export import ExportError, export_students, read_manifest

pytestmark = pytest.mark.integration

OF_0_1 = Path(__file__).parents[1] / "written_by_0_1" / "export"
CONTRACT = {
    "oekd_tf": "0.2.0", "data": None, "mean": None, "std": None, "class_counts": None,
    "preparation": None, "splits": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return oekd_tf.data.load("fashion_mnist_mini")


@pytest.fixture(scope="module")
def test_set(data):
    return data.test_arrays(400)


@pytest.fixture(scope="module")
def ensemble(data):
    keras.utils.set_random_seed(0)
    ensemble = oekd_tf.OnlineEnsemble(
        oekd_tf.backbones.CifarResNet(8),
        data.image_shape,
        data.num_classes,
        widths=(1.0, 0.4),
        mean=data.mean,
        std=data.std,
    )
    ensemble.compile(oekd_tf.optimizers.Adam(3e-3))
    ensemble.fit(data.train(64, seed=0), steps_per_epoch=60, verbose=0)
    return ensemble


@pytest.fixture(scope="module")
def exported(ensemble, data, test_set, tmp_path_factory):
    """The export, its manifest, and the lines of its progress."""
    output = tmp_path_factory.mktemp("savedmodels") / "run"
    lines = []
    manifest = export_students(
        ensemble,
        output,
        calibration_images=data.train_images(200),
        test_images=test_set[0],
        test_labels=test_set[1],
        class_names=data.class_names,
        provenance={"seed": 0},
        progress=lines.append,
    )
    return output, manifest, lines


def test_the_contract_of_user_code(exported, ensemble, data):
    """What is not known is said to be so, rather than guessed."""
    contract = exported[1]["contract"]
    assert contract["class_names"] == data.class_names
    np.testing.assert_allclose(contract["mean"], ensemble.get_config()["mean"])
    assert contract["image_shape"] == [28, 28, 1]
    unknown = ("data", "preparation", "splits", "class_counts")
    assert [contract[name] for name in unknown] == [None] * 4


def leftovers(folder):
    return [path.name for path in folder.iterdir()]


class TestFiles:
    def test_layout(self, exported):
        output, manifest, lines = exported
        for name in ("student_1", "student_2"):
            found = {path.name for path in (output / name).iterdir()}
            assert found == {"saved_model", "float32.tflite", "int8.tflite", "labels.txt"}
            labels = (output / name / "labels.txt").read_text().splitlines()
            assert labels == manifest["class_names"]
            assert labels[9] == "Ankle boot"
        assert read_manifest(output) == manifest == json.loads(json.dumps(manifest))
        assert len(lines) == 6
        assert lines[-1].startswith("student_2 int8: ")

    def test_saved_model_takes_raw_images_in_any_batch(self, exported, ensemble, test_set):
        model = tf.saved_model.load(str(exported[0] / "student_2" / "saved_model"))
        assert set(model.signatures) == {"serve", "serving_default"}
        signature = model.signatures["serve"]
        spec = signature.structured_input_signature[1]["images"]
        assert (spec.dtype, spec.shape.as_list()) == (tf.uint8, [None, 28, 28, 1])
        for count in (1, 7):
            outputs = signature(images=tf.constant(test_set[0][:count]))
            expected = ensemble.students[1](test_set[0][:count], training=False)
            np.testing.assert_allclose(outputs["logits"], expected, atol=1e-4)
            np.testing.assert_allclose(
                outputs["probabilities"], keras.ops.softmax(expected), atol=1e-5
            )
            np.testing.assert_allclose(np.sum(outputs["probabilities"], -1), 1, atol=1e-5)

    def test_float32_file_gives_the_students_logits(self, exported, ensemble, test_set):
        interpreter = Interpreter(str(exported[0] / "student_1" / "float32.tflite"))
        interpreter.allocate_tensors()
        (given,), (taken,) = interpreter.get_input_details(), interpreter.get_output_details()
        assert given["shape"].tolist() == [1, 28, 28, 1]
        for image in test_set[0][:5]:
            interpreter.set_tensor(given["index"], image[None].astype(np.float32))
            interpreter.invoke()
            expected = ensemble.students[0](image[None], training=False)
            np.testing.assert_allclose(
                interpreter.get_tensor(taken["index"]), expected, rtol=1e-4, atol=1e-4
            )

    def test_int8_file_is_int8_throughout(self, exported):
        output, manifest, _ = exported
        for student in manifest["students"]:
            facts = student["formats"]["int8"]
            assert facts["input"]["dtype"] == facts["output"]["dtype"] == "int8"
            # Raw pixels from 0 to 255 are exactly what int8 holds, moved by 128.
            assert facts["input"]["scale"] == pytest.approx(1.0)
            assert facts["input"]["zero_point"] == -128
            interpreter = Interpreter(str(output / facts["path"]))
            types = {detail["dtype"] for detail in interpreter.get_tensor_details()}
            assert np.float32 not in types
            assert set(facts["tensor_types"]) <= {"int8", "int32", "int64"}

    def test_int8_is_smaller_and_agrees(self, exported):
        for student in exported[1]["students"]:
            formats = student["formats"]
            assert formats["int8"]["bytes"] < 0.5 * formats["float32"]["bytes"]
            assert formats["float32"]["agreement"] == formats["saved_model"]["agreement"] == 1.0
            assert formats["int8"]["agreement"] > 0.9


class TestManifest:
    def test_figures_can_be_found_again(self, exported, ensemble, test_set):
        output, manifest, _ = exported
        for student, model in zip(manifest["students"], ensemble.students, strict=True):
            predicted = model.predict(test_set[0], verbose=0).argmax(-1)
            assert student["accuracy"] == pytest.approx((predicted == test_set[1]).mean())
            for file_format in ("float32", "int8"):
                facts = student["formats"][file_format]
                content = (output / facts["path"]).read_bytes()
                assert facts["bytes"] == len(content)
                assert facts["sha256"] == hashlib.sha256(content).hexdigest()
                assert facts["operations"]["CONV_2D"] >= 8
                assert not any("CUSTOM" in name for name in facts["operations"])
        assert [s["width"] for s in manifest["students"]] == [1.0, 0.4]
        assert manifest["checked_on_images"] == 400
        assert manifest["calibration_images"] == 200
        assert manifest["made_by"]["seed"] == 0
        assert {"tensorflow", "keras", "oekd_tf", "time"} <= set(manifest["made_by"])

    def test_hash_of_a_folder(self, exported):
        output, manifest, _ = exported
        facts = manifest["students"][0]["formats"]["saved_model"]
        files = sorted(p for p in (output / facts["path"]).rglob("*") if p.is_file())
        assert facts["bytes"] == sum(path.stat().st_size for path in files)
        text = "".join(
            f"{hashlib.sha256(path.read_bytes()).hexdigest()}  "
            f"{path.relative_to(output / facts['path'])}\n"
            for path in files
        )
        assert facts["sha256"] == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("index", [0, 1])
def test_any_student(ensemble, data, test_set, tmp_path, index):
    entry = check_student(
        ensemble.students[index], *test_set, tmp_path, calibration_images=data.train_images(100)
    )
    assert entry["name"] == f"student_{index + 1}"


def test_mixed_precision_student_is_exported_in_float32(data, test_set, tmp_path):
    ensemble = oekd_tf.OnlineEnsemble(
        oekd_tf.backbones.CifarResNet(8), (28, 28, 1), 10, widths=(1.0, 0.4), dtype="mixed_float16"
    )
    manifest = export_students(
        ensemble.students[1:],
        tmp_path / "run",
        formats=("float32",),
        test_images=test_set[0],
        test_labels=test_set[1],
        min_agreement={"float32": 0.9},
        progress=lambda line: None,
    )
    types = manifest["students"][0]["formats"]["float32"]["tensor_types"]
    assert "float16" not in types


class TestWholeOrNotAtAll:
    def export(self, ensemble, test_set, output, **arguments):
        arguments = {"formats": ("float32",), "progress": lambda line: None, **arguments}
        return export_students(
            ensemble.students[1:], output, test_images=test_set[0], test_labels=test_set[1],
            **arguments,
        )  # fmt: skip

    @pytest.mark.parametrize("broken", ["one black image", "noise around grey"])
    def test_broken_calibration_is_caught_and_the_others_delivered(
        self, ensemble, test_set, tmp_path, rng, broken
    ):
        if broken == "noise around grey":
            images = rng.integers(126, 130, (100, 28, 28, 1), dtype=np.uint8)
        else:
            images = np.zeros((1, 28, 28, 1), np.uint8)
        lines = []
        with pytest.raises(
            ExportError,
            match=r"1 of 2 files .*student_2 int8: its test accuracy .*try more, .*Received: ",
        ) as error:
            self.export(
                ensemble, test_set, tmp_path / "run", formats=("float32", "int8"),
                calibration_images=images, progress=lines.append,
            )  # fmt: skip
        assert "\n" not in str(error.value)
        assert lines[-1] == "student_2 int8: refused"
        assert sorted(leftovers(tmp_path / "run" / "student_2")) == ["float32.tflite", "labels.txt"]
        manifest = read_manifest(tmp_path / "run")
        assert list(manifest["students"][0]["formats"]) == ["float32"]
        assert manifest["failures"][0].startswith("student_2 int8: its test accuracy")

    def test_nothing_is_left_where_all_fails(self, ensemble, test_set, tmp_path):
        with pytest.raises(ExportError, match=r"^student_2 int8: its test accuracy must"):
            self.export(
                ensemble, test_set, tmp_path / "run", formats=("int8",),
                calibration_images=np.zeros((1, 28, 28, 1), np.uint8),
            )  # fmt: skip
        assert leftovers(tmp_path) == []

    def test_existing_output_is_left_alone(self, ensemble, test_set, tmp_path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "mine.txt").write_text("mine")
        with pytest.raises(ExportError, match=r"not there yet.*Received: .*run, which exists"):
            self.export(ensemble, test_set, tmp_path / "run")
        assert leftovers(tmp_path / "run") == ["mine.txt"]

    def test_overwrite_replaces_all_of_it(self, ensemble, test_set, tmp_path):
        shutil.copytree(OF_0_1, tmp_path / "run")
        self.export(ensemble, test_set, tmp_path / "run", overwrite=True)
        assert sorted(leftovers(tmp_path / "run")) == [
            "manifest.json", "selftest", "student_2"
        ]  # fmt: skip
        assert leftovers(tmp_path) == ["run"]

    def test_failed_overwrite_keeps_what_was_there(self, ensemble, test_set, tmp_path):
        shutil.copytree(OF_0_1, tmp_path / "run")
        with pytest.raises(ExportError, match="int8"):
            self.export(
                ensemble, test_set, tmp_path / "run", overwrite=True, formats=("int8",),
                calibration_images=np.zeros((1, 28, 28, 1), np.uint8),
            )  # fmt: skip
        assert leftovers(tmp_path) == ["run"]
        assert sorted(leftovers(tmp_path / "run")) == sorted(leftovers(OF_0_1))

    @pytest.mark.parametrize(
        ("there", "found"),
        [
            ("checkpoint", "which this command did not write"),
            # A web site has a file of this name too.
            ("manifest.json", "which this command did not write"),
            ("export and notes.txt", "which holds notes.txt"),
            ("export and student_1/int8_vela.tflite", "which holds student_1/int8_vela.tflite"),
        ],
    )
    def test_overwrite_takes_only_an_export(self, ensemble, test_set, tmp_path, there, found):
        output = tmp_path / "run"
        if there.startswith("export and "):
            shutil.copytree(OF_0_1, output)
            there = there.removeprefix("export and ")
        else:
            output.mkdir()
        (output / there).write_text('{"name": "Shoes", "icons": []}')
        before = sorted(path for path in output.rglob("*"))
        with pytest.raises(ExportError, match=rf"Only a folder that is an export.*run, {found}$"):
            self.export(ensemble, test_set, output, overwrite=True)
        assert sorted(path for path in output.rglob("*")) == before

    def test_class_names_with_line_breaks(self, ensemble, test_set, tmp_path):
        names = ["a\nb", *"bcdefghij"]
        self.export(ensemble, test_set, tmp_path / "run", class_names=names)
        lines = (tmp_path / "run" / "student_2" / "labels.txt").read_text().splitlines()
        assert lines == ["a\\nb", *"bcdefghij"]
        assert read_manifest(tmp_path / "run")["class_names"] == names

    def test_operation_outside_tflite_is_refused(self, test_set, tmp_path):
        images = keras.Input((28, 28, 1), name="images")
        logits = keras.layers.Dense(10)(keras.layers.Flatten()(images))
        # The inverse error function exists in TensorFlow and not in TFLite.
        logits = keras.ops.erfinv(0.9 * keras.ops.tanh(logits))
        student = keras.Model(images, logits, name="student_1")
        with pytest.raises(ExportError, match=r"TFLite's own.*Received: student_1 to float32"):
            export_students(
                [student], tmp_path / "run", formats=("float32",), test_images=test_set[0],
                test_labels=test_set[1], progress=lambda line: None,
            )  # fmt: skip
        assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"formats": ("int4",)}, r"A format must be one of saved_model, float32.*Received: 'int4'"),
        (
            {"formats": ("qat_float32",)},
            r"A format must be one of saved_model, float32.*Received: 'qat_float32'",
        ),
        ({"formats": ()}, r"There must be formats.*Received: \[\]"),
        ({"formats": ("int8", "int8")}, "each once. Received"),
        ({"formats": ("qat_int8",)}, "qat_int8 needs fine_tuning. Received: None"),
        ({"widths": (1.0,)}, r"widths must be 2 numbers, one a student. Received: \[1.0\]"),
        ({"batch_size": 0}, "batch_size must be at least 1, or None. Received: 0"),
        (
            {"calibration_batch_size": 5},
            "calibration_batch_size must be at least 1, and 1 unless .*Received: 5",
        ),
        ({"formats": ("int8",)}, "int8 needs calibration_images .*Received: None"),
        (
            {"formats": ("int8",), "calibration_images": np.zeros((2, 28, 28, 3), np.uint8)},
            r"calibration_images must be of shape .*Received: shape \(2, 28, 28, 3\)",
        ),
        (
            {"formats": ("int8",), "calibration_images": np.random.rand(2, 28, 28, 1)},
            "calibration_images must be raw pixels from 0 to 255. Received: float64",
        ),
        ({"test_images": np.zeros((0, 28, 28, 1), np.uint8)}, "test_images must be .*not empty"),
        ({"test_labels": np.zeros(3)}, r"test_labels must be one class .*Received: shape \(3,\)"),
        (
            {"test_labels": np.arange(400) % 10 + 1},
            r"test_labels must be class indices, .* 0 to 9.*Received: 10 at index \d",
        ),
        (
            {"test_labels": np.array(["cat"] * 400)},
            r"test_labels must be class indices, .* 0 to 9.*Received: type str\d+, '.*' at index 0",
        ),
        (
            {"test_labels": np.full(400, -1)},
            r"test_labels must be class indices, .* 0 to 9.*Received: -1 at index 0",
        ),
        (
            {
                "contract": {
                    **CONTRACT,
                    "class_names": list("abcdefghij"),
                    "image_shape": [28, 28, 1],
                    "mean": [0.0],
                }
            },
            r"contract must have the mean that the network was made with, .*Received: \[0\.0\]",
        ),
        ({"contract": "data"}, "contract must be that of a data set, data.contract"),
        (
            {"contract": {**CONTRACT, "class_names": list("abc"), "image_shape": [28, 28, 1]}},
            r"contract must be of the network's inputs, \(28, 28, 1\), and its 10 classes",
        ),
        (
            {
                "contract": {
                    **CONTRACT,
                    "class_names": list("abcdefghij"),
                    "image_shape": [28, 28, 1],
                },
                "class_names": list("abcdefghix"),
            },
            "class_names must be those of contract, or None. Received: others, such as 'x'",
        ),
        ({"contract": {}}, "contract must be that of a data set.* Received: no "),
        ({"widths": (1.0, -1.0)}, r"A width must be a number > 0.0. Received: -1.0"),
        ({"class_names": [1] * 10}, "A class name must be text. Received: 1"),
        ({"provenance": {"score": float("nan")}}, "provenance must .*score must be finite"),
        ({"provenance": {"path": Path()}}, "provenance must be what JSON can hold. Received: "),
        ({"class_names": ["a"]}, "class_names must be 10 names.*Received: 1"),
        ({"min_agreement": {"int9": 1.0}}, "A format must be one of saved_model, float32"),
        ({"max_accuracy_drop": {"int9": 1.0}}, "A format must be one of saved_model, float32"),
    ],
)
def test_refusals(ensemble, test_set, tmp_path, arguments, message):
    given = {"test_images": test_set[0], "test_labels": test_set[1], "formats": ("float32",)}
    with pytest.raises(ExportError, match=message) as error:
        export_students(ensemble, tmp_path / "run", **{**given, **arguments})
    assert "\n" not in str(error.value)
    assert leftovers(tmp_path) == []


def test_no_students(tmp_path):
    with pytest.raises(ExportError, match="at least one student"):
        export_students([], tmp_path / "run", test_images=np.ones(1), test_labels=np.ones(1))
