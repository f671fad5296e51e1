"""A device has numpy and ai-edge-litert, and nothing else of what training needs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent.parent
FORBIDDEN = ("tensorflow", "keras", "absl", "matplotlib", "ml_collections", "tqdm", "psutil")

# Both an import and a look for the package must find nothing, as where it is not installed.
RUNNER = """
import sys
class Absent:
    def __init__(self, names):
        self.names = names
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
absent = Absent(sys.argv.pop(1).split(","))
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in absent.names else found(name, *rest)
sys.meta_path.insert(0, absent)
import runpy
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def run(tmp_path, module, *flags, absent=FORBIDDEN):
    return subprocess.run(
        [sys.executable, "-c", RUNNER, ",".join(absent), module, *map(str, flags)],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=100,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )  # fmt: skip


def test_the_hook_hides_tensorflow(tmp_path):
    (tmp_path / "probe.py").write_text("import tensorflow\n")
    done = run(tmp_path, "probe")
    assert "No module named 'tensorflow'" in done.stderr


def test_from_bench_to_classify(export, data, tmp_path):
    exports = f"--exports={export}"
    done = run(tmp_path, "oekd_tf.bench", exports, "--runs=2", "--device=pi", "--threads=1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "| student_2/int8 " in done.stdout
    assert not (export / "trade_off.png").exists()
    done = run(tmp_path, "oekd_tf.pick", exports, "--max_latency_ms=1e6", "--formats=int8")
    assert (done.returncode, done.stderr) == (0, "")
    picked = export.parent / "run_picked"
    Image.fromarray(data.test_arrays(1)[0][0, ..., 0]).save(tmp_path / "image.png")
    flags = f"--model={picked / 'int8.tflite'}", tmp_path / "image.png", "--json"
    done = run(tmp_path, "oekd_tf.classify", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["predictions"]) == 5
    flags = exports, "--cascade=student_2,student_1", "--threshold=0.5", tmp_path / "image.png"
    done = run(tmp_path, "oekd_tf.classify", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    done = run(tmp_path, "oekd_tf.classify", *flags, absent=(*FORBIDDEN, "PIL"))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: Reading images needs Pillow: pip install pillow. "
        "Received: an environment without it"
    ]


def test_selftest(export, tmp_path):
    done = run(tmp_path, "oekd_tf", "selftest", f"--exports={export}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Files and pictures give the golden answers here; the labels are right." in done.stdout
    absent = (*FORBIDDEN, "PIL")
    done = run(tmp_path, "oekd_tf", "selftest", f"--exports={export}", absent=absent)
    assert (done.returncode, done.stderr) == (0, "")
    assert "without Pillow" in done.stdout


def test_finding_a_threshold_says_that_it_needs_tensorflow(export, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    flags = f"--exports={export}", f"--workdir={tmp_path}", "--cascade=student_2,student_1"
    done = run(tmp_path, "oekd_tf.cascade", *flags)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "TensorFlow" in done.stderr


@pytest.mark.parametrize("command", ["train", "compare", "export", "train-arrays"])
def test_what_trains_says_what_to_install(tmp_path, command):
    """On a device there is no Keras either."""
    flags = ["--workdir=x"] + (["--arrays=x.npz"] if command == "train-arrays" else [])
    # What a light install has beside what a device's commands need.
    absent = [name for name in FORBIDDEN if name not in ("absl", "ml_collections")]
    done = run(tmp_path, "oekd_tf", command, *flags, absent=absent)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: oekd {command} needs keras, which is not installed. Run: pip ")


def test_an_attribute_says_what_to_install(tmp_path):
    (tmp_path / "probe.py").write_text("import oekd_tf\noekd_tf.OnlineEnsemble\n")
    done = run(tmp_path, "probe")
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: oekd_tf.OnlineEnsemble needs keras, which is not installed. "
        "Run: pip install 'oekd-tf[train]'"
    )


@pytest.mark.parametrize("module", ["cascade", "trade_off", "report", "device"])
def test_imports(tmp_path, module):
    (tmp_path / "probe.py").write_text(f"import oekd_tf.{module}\n")
    done = run(tmp_path, "probe")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["bench", "pick", "classify", "cascade"])
def test_help(tmp_path, name):
    done = run(tmp_path, f"oekd_tf.{name}", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"oekd {name}" in done.stdout
