"""Exports for microcontrollers: what runs there, and the folder of C++ sources."""

import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

import oekd_tf
from oekd_tf.cli import pick
from oekd_tf.core.errors import RefusedFilesError
from oekd_tf.device.exported import read_export
from oekd_tf.device.micro_model import MicroModel
from oekd_tf.device.tflite_model import TfliteModel
from oekd_tf.export import ExportError, export_students, formats

pytestmark = pytest.mark.integration

FORMATS = ("saved_model", "float32", "float16", "dynamic", "int8", "uint8", "int16x8", "mcu")
RUN = ("float32", "int8", "uint8", "int16x8", "mcu")
NAMES = [*"abcdefgh", 'i "quoted"', "größe"]


@pytest.fixture(scope="module")
def student(data):
    keras.utils.set_random_seed(0)
    ensemble = oekd_tf.OnlineEnsemble(
        oekd_tf.backbones.CifarResNet(8), (28, 28, 1), 10, widths=(1.0, 0.25),
        mean=data.mean, std=data.std,
    )  # fmt: skip
    ensemble.compile(oekd_tf.optimizers.Adam(3e-3))
    ensemble.fit(data.train(64, seed=0), steps_per_epoch=30, verbose=0)
    return ensemble.exported_models()[1]


@pytest.fixture(scope="module")
def made(student, data, tmp_path_factory):
    images, labels = data.test_arrays(120)
    output = tmp_path_factory.mktemp("savedmodels") / "run"
    manifest = export_students(
        [student], output, formats=FORMATS, calibration_images=data.train_images(100),
        test_images=images, test_labels=labels, class_names=NAMES, micro_images=60,
        max_accuracy_drop=1.0, progress=lambda line: None,
    )  # fmt: skip
    assert read_export(output) == manifest
    return output, manifest["students"][0]["formats"]


def test_every_file_that_runs_there(made, data):
    output, files = made
    # Spread evenly, both ends included.
    chosen = np.linspace(0, 119, 60).round().astype(int)
    images, labels = (part[chosen] for part in data.test_arrays(120))
    for name in RUN:
        facts = files[name]["micro"]
        model = formats.kind(name).micro_model(output / files[name]["path"])
        assert facts["arena_bytes"] == model.arena_bytes
        assert facts["images"] == 60
        assert facts["accuracy"] == (model.logits(images).argmax(-1) == labels).mean()
        assert facts["agreement"] > 0.9
        assert facts["largest_difference"] <= (1 if name != "float32" else 1e-3)
        assert facts["runtime"].startswith("tflite-micro 0.")
    assert files["mcu"]["micro"]["arena_bytes"] == files["int8"]["micro"]["arena_bytes"]
    assert files["int8"]["micro"]["arena_bytes"] < files["float32"]["micro"]["arena_bytes"]


def test_every_file_that_does_not(made):
    files = made[1]
    assert files["dynamic"]["micro"]["unfit"].startswith("Hybrid models are not supported")
    assert "unfit" in files["float16"]["micro"]
    assert "micro" not in files["saved_model"]


def test_the_sources_hold_the_int8_file(made, data):
    output, files = made
    folder = output / files["mcu"]["path"]
    assert {file.name for file in folder.iterdir()} == {
        "main.cc", "model.cc", "model.h", "operations.h"
    }  # fmt: skip
    # Without labels and metadata, which its memory is too small for.
    content = formats.kind("mcu").content(folder)
    assert len(content) < files["int8"]["bytes"]
    int8 = output / files["int8"]["path"]
    images = data.test_arrays(20)[0]
    np.testing.assert_array_equal(
        TfliteModel(content).logits(images), TfliteModel(int8).logits(images)
    )
    operations = (folder / "operations.h").read_text()
    assert operations.count("resolver.Add") == len(files["int8"]["operations"])
    assert f"MicroMutableOpResolver<{len(files['int8']['operations'])}>" in operations
    assert not any("$" in file.read_text() for file in folder.iterdir())


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
def test_a_compiler_takes_the_sources(made, data, tmp_path):
    """What a program of another language finds in them is what was exported."""
    output, files = made
    folder = output / files["mcu"]["path"]
    (tmp_path / "show.cc").write_text("""
#include <cstdio>
#include "model.h"
using namespace student_2;
int main() {
  std::fwrite(kModel, 1, kModelBytes, stdout);
  std::fwrite(kGoldenInput, 1, sizeof kGoldenInput, stdout);
  std::fwrite(kGoldenLogits, 1, sizeof kGoldenLogits, stdout);
  for (const char* label : kLabels) std::puts(label);
  std::printf("%d %d %d %d %zu %.9g %d", kHeight, kWidth, kChannels,
              reinterpret_cast<std::size_t>(kModel) % 16 == 0, kArenaBytes, kOutputScale,
              kOutputZeroPoint);
}
""")
    subprocess.run(
        ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{folder}", "show.cc",
         folder / "model.cc", "-o", "show"],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    shown = subprocess.run([tmp_path / "show"], capture_output=True, check=True).stdout
    int8 = formats.kind("mcu").content(folder)
    model = MicroModel(int8)
    golden = data.test_arrays(1)[0][0]
    parts = [int8, model.stored_input(golden).tobytes(), model.stored_output(golden).tobytes()]
    assert shown.startswith(b"".join(parts))
    *labels, numbers = shown[len(b"".join(parts)) :].decode().split("\n")
    assert labels == NAMES
    scale, zero = model.scales[1]
    assert numbers == f"28 28 1 1 {model.arena_bytes} {scale:.9g} {zero}"


def test_a_file_is_picked_by_its_arena(made, tmp_path, capsys, fails):
    output, files = made
    arenas = {name: files[name]["micro"]["arena_bytes"] for name in RUN}
    limit = arenas["int8"]
    argv = ["--exports", output, "--output", tmp_path / "picked", "--max_arena"]
    pick.main([*map(str, argv), str(limit)])
    assert f"{limit:,} bytes of arena" in capsys.readouterr().out
    card = json.loads((tmp_path / "picked" / "card.json").read_text())
    assert card["format"]["micro"]["arena_bytes"] <= limit
    assert f"an arena of {limit:,} bytes" in (tmp_path / "picked" / "CARD.md").read_text()
    line = fails(pick.main, *argv, "1KiB")
    assert "max_arena by " in line
    line = fails(pick.main, *argv, "1MiB", "--formats=saved_model")
    assert "--max_arena applies to files that TensorFlow Lite Micro ran" in line


def test_a_network_that_does_not_run_there_is_refused_by_name(rng, tmp_path):
    """The other files are delivered."""
    given = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="gelu")(given)
    logits = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))
    student = keras.Model(given, logits, name="student_1")
    images = rng.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    with pytest.raises(RefusedFilesError, match=r"student_1 mcu: "):
        export_students(
            [student], tmp_path / "run", formats=("float32", "mcu"), test_images=images,
            test_labels=student.predict(images, verbose=0).argmax(-1), max_accuracy_drop=1.0,
            calibration_images=images, progress=lambda line: None,
        )  # fmt: skip
    assert not (tmp_path / "run" / "student_1" / "mcu").exists()
    assert (tmp_path / "run" / "student_1" / "float32.tflite").exists()


def test_arguments(student, data, tmp_path):
    images, labels = data.test_arrays(10)
    with pytest.raises(ExportError, match=r"^micro_images must be at least 0\. Received: -1"):
        export_students(
            [student], tmp_path / "run", formats=("float32",), test_images=images,
            test_labels=labels, micro_images=-1,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("names", "count", "received"),
    [(["mcu"], 0, "mcu"), (["int8"], 5, "micro_images of 5")],
)
def test_the_interpreter_is_missed_before_anything_is_done(names, count, received):
    program = (
        "import sys; sys.modules['tflite_micro'] = None\n"
        "from oekd_tf.export.arguments import check_micro\n"
        f"try:\n    check_micro({names}, {count})\nexcept ValueError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "TensorFlow Lite Micro is not installed: pip install 'oekd-tf[mcu]'. Received: "
        f"{received}\n"
    )
