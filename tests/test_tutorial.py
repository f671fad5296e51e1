"""The tutorial, step by step as it stands, but for the number of epochs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import environment

PAGE = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text()

# Minutes: it trains, exports, measures and classifies.
pytestmark = pytest.mark.slow


def test_every_step(tmp_path):
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    steps = re.findall(r"^    (oekd .*)$", PAGE, re.MULTILINE)
    assert [step.split()[1] for step in steps] == [
        "check-data", "train", "bench", "pick", "classify",
    ]  # fmt: skip
    run(tmp_path, [sys.executable, "-c", code])
    assert len(list((tmp_path / "photos").rglob("*.png"))) == 2000
    said = {}
    for step in steps:
        _, command, *words = re.findall(r'(?:[^\s"]|"[^"]*")+', step)
        words = [word.replace('"', "") for word in words]
        if command == "train":
            words += ["--config.epochs=2"]
            # Files of a student that has learned nothing differ by chance.
            words += ["--config.export.max_accuracy_drop=1.0"]
        said[command] = run(tmp_path, [sys.executable, "-m", "oekd_tf", command, *words])
    assert "| student_5 |" in said["train"]
    assert "copied: savedmodels/own_folder_picked/int8.tflite" in said["pick"]
    assert len(said["classify"].splitlines()) >= 200
    run(
        tmp_path,
        [sys.executable, "-m", "oekd_tf", "selftest", "--exports=savedmodels/own_folder_picked"],
    )


def run(folder, command):
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False,
        timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
