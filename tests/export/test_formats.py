"""Every post-training format of one student, at a fixed and at a free batch."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import oekd_tf
from oekd_tf.export import export_students, formats

pytestmark = pytest.mark.integration

FORMATS = (
    "float32", "float16", "dynamic", "int8", "uint8", "int16x8", "mixed", "weight_only_int4",
    "onnx",
)  # fmt: skip
# Fewer than 1,024 weights are left in float by the converter; the widest student has more.
TYPES = {
    "float32": ("float32", {"float32", "int32"}),
    "float16": ("float32", {"float16", "float32", "int32"}),
    "dynamic": ("float32", {"int8", "float32", "int32"}),
    "int8": ("int8", {"int8", "int32"}),
    "uint8": ("uint8", {"int8", "uint8", "int32"}),
    "int16x8": ("int16", {"int8", "int16", "int32", "int64"}),
    "mixed": ("int8", {"int8", "int16", "float32", "int32", "int64"}),
    "weight_only_int4": ("float32", {"int4", "float32", "int32"}),
}


@pytest.fixture(scope="module")
def data():
    return oekd_tf.data.load("fashion_mnist_mini")


@pytest.fixture(scope="module")
def test_set(data):
    return data.test_arrays(250)


@pytest.fixture(scope="module")
def student(data):
    keras.utils.set_random_seed(0)
    student = oekd_tf.OnlineEnsemble(
        oekd_tf.backbones.CifarResNet(8), (28, 28, 1), 10, mean=data.mean, std=data.std
    ).students[0]
    student.compile(oekd_tf.optimizers.Adam(3e-3), loss=oekd_tf.losses.label_loss)
    student.fit(data.train(64, seed=0), steps_per_epoch=100, verbose=0)
    return student


@pytest.fixture(
    scope="module",
    params=[
        1,
        pytest.param(4, marks=pytest.mark.slow),
        pytest.param(None, marks=pytest.mark.slow),
    ],
    ids=["batch-1", "batch-4", "free-batch"],
)
def exported(request, student, data, test_set, tmp_path_factory):
    output = tmp_path_factory.mktemp("savedmodels") / "run"
    manifest = export_students(
        [student],
        output,
        formats=FORMATS,
        batch_size=request.param,
        calibration_images=data.train_images(205),
        calibration_batch_size=1 if request.param else 20,
        test_images=test_set[0],
        test_labels=test_set[1],
        max_accuracy_drop={"weight_only_int4": 0.2},
        progress=lambda line: None,
    )
    return request.param, output, manifest["students"][0]


def test_types_and_shapes(exported, student):
    batch_size, output, entry = exported
    for name, (io_type, types) in TYPES.items():
        facts = entry["formats"][name]
        assert set(facts["tensor_types"]) <= types, name
        assert formats.parse(name).kind.required_type in facts["tensor_types"]
        assert facts["input"]["dtype"] == facts["output"]["dtype"] == io_type
        assert facts["input"]["shape"] == [batch_size or -1, 28, 28, 1]
        assert facts["bytes"] == (output / facts["path"]).stat().st_size
        assert 0.3 * facts["bytes"] < facts["gzip_bytes"] < facts["bytes"]


def test_sizes_fall(exported):
    size = {name: facts["bytes"] for name, facts in exported[2]["formats"].items()}
    assert size["float16"] < 0.6 * size["float32"]
    assert size["dynamic"] < 0.4 * size["float32"]
    assert size["int8"] < 0.4 * size["float32"]
    assert size["int16x8"] < 0.4 * size["float32"]
    assert size["weight_only_int4"] < 0.75 * size["int8"]


def test_answers(exported):
    agreement = {name: facts["agreement"] for name, facts in exported[2]["formats"].items()}
    assert agreement["float32"] == agreement["onnx"] == 1
    assert min(agreement[name] for name in ("float16", "dynamic", "int16x8")) > 0.97
    assert min(agreement[name] for name in ("int8", "uint8")) > 0.9
    assert agreement["weight_only_int4"] > 0.6


def test_a_camera_frame_goes_straight_in(exported, student, test_set):
    batch_size, output, entry = exported
    facts = entry["formats"]["uint8"]
    assert (facts["input"]["scale"], facts["input"]["zero_point"]) == (pytest.approx(1.0), 0)
    interpreter = Interpreter(str(output / facts["path"]))
    interpreter.allocate_tensors()
    (given,), (taken,) = interpreter.get_input_details(), interpreter.get_output_details()
    answers = []
    for frames in test_set[0][:48].reshape(-1, batch_size or 1, 28, 28, 1):
        interpreter.set_tensor(given["index"], frames)
        interpreter.invoke()
        answers.extend(interpreter.get_tensor(taken["index"]).argmax(-1))
    expected = student.predict(test_set[0][:48], verbose=0).argmax(-1)
    assert (np.array(answers) == expected).mean() > 0.9


def test_onnx_file_runs_at_its_batch(exported, student, test_set):
    import onnxruntime

    batch_size, output, entry = exported
    path = output / entry["formats"]["onnx"]["path"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = test_set[0][: batch_size or 7].astype(np.float32)
    (logits,) = session.run(["logits"], {"images": images})
    np.testing.assert_allclose(logits, student.predict(images, verbose=0), atol=1e-3)


def test_names():
    form = formats.parse("pruned_clustered_qat_int8")
    assert form.stages == ("pruned", "clustered", "qat")
    assert form.kind.name == "int8"
    assert form.file_name == "pruned_clustered_qat_int8.tflite"
    # Its ranges were learned.
    assert not form.calibrated
    assert formats.parse("pruned_int8").calibrated
    assert formats.parse("pruned_onnx").file_name == "pruned_float32.onnx"
    for name in ("int4", "qat_float32", "clustered_pruned_int8", "qat_saved_model", "", 3):
        assert not formats.is_format(name)


def test_in_processes_the_files_are_the_same(student, data, test_set, tmp_path):
    made = {}
    for processes in (0, 2):
        manifest = export_students(
            [student], tmp_path / str(processes), formats=("float32", "int8"),
            calibration_images=data.train_images(50), test_images=test_set[0],
            test_labels=test_set[1], processes=processes, progress=lambda line: None,
            max_accuracy_drop={"int8": 0.1},
        )  # fmt: skip
        made[processes] = {
            name: (facts["sha256"], facts["accuracy"])
            for name, facts in manifest["students"][0]["formats"].items()
        }
    assert made[0] == made[2]


def test_packages_that_are_not_there_are_named(student, test_set, tmp_path):
    """In a process where tf2onnx and ai-edge-quantizer cannot be imported."""
    student.save(tmp_path / "student.keras")
    np.savez(tmp_path / "test.npz", images=test_set[0], labels=test_set[1])
    program = f"""
import sys
sys.modules["tf2onnx"] = sys.modules["ai_edge_quantizer"] = None
import keras, numpy as np
from oekd_tf.export import export_students
test = np.load({str(tmp_path / "test.npz")!r})
student = keras.models.load_model({str(tmp_path / "student.keras")!r}, compile=False)
try:
    export_students([student], {str(tmp_path / "run")!r}, test_images=test["images"],
        test_labels=test["labels"], formats=("float32", "weight_only_int4", "onnx"))
except ValueError as error:
    print("error:", error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "float32: " in done.stdout
    assert "2 of 3 files are not in" in done.stdout
    assert "pip install 'oekd-tf[onnx]'" in done.stdout
    assert "pip install 'oekd-tf[compression]'" in done.stdout
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert list(manifest["students"][0]["formats"]) == ["float32"]
