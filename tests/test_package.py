"""What users install."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent


def test_importing_the_package_loads_no_framework():
    code = (
        "import sys, oekd_tf, oekd_tf.export, oekd_tf.lazy\n"
        "assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)\n"
        "assert 'OnlineEnsemble' in dir(oekd_tf)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_process_that_only_loads_a_saved_ensemble(tmp_path):
    import oekd_tf

    ensemble = oekd_tf.OnlineEnsemble(oekd_tf.backbones.CifarResNet(8), (8, 8, 3), 4, (1.0, 0.5))
    ensemble.compile("sgd")
    ensemble.save(tmp_path / "ensemble.keras")
    ensemble.students[1].save(tmp_path / "student.keras")
    code = (
        "import sys, keras; load = keras.models.load_model; print(load('student.keras').name)\n"
        "assert 'oekd_tf' not in sys.modules\n"
        "import oekd_tf; print(load('ensemble.keras').widths)"
    )
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == ["student_2", "(1.0, 0.5)", ""]


def test_unknown_attribute():
    import oekd_tf

    with pytest.raises(AttributeError, match="'oekd_tf' has no attribute 'Ensemble'"):
        _ = oekd_tf.Ensemble


def test_wheel_has_the_data_its_licence_and_the_configs(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, ROOT],
        check=True,
    )
    (wheel,) = tmp_path.glob("oekd_tf-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    data = "oekd_tf/data/datasets/fashion_mnist_mini"
    assert f"{data}/LICENSE" in names
    assert f"{data}/1.0.0/fashion_mnist_mini-train.tfrecord-00000-of-00001" in names
    assert "oekd_tf/configs/demo.py" in names
    assert "oekd_tf/cli/export.py" in names
    assert "oekd_tf/py.typed" in names
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)
