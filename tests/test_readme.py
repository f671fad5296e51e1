"""The README's Python, run from top to bottom as a reader would, with a shorter training."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_python_blocks(tmp_path):
    text = (ROOT / "README.md").read_text()
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    for long, short in (
        ("steps_per_epoch=data.steps_per_epoch(64),", "steps_per_epoch=40,"),
        ("epochs=7", "epochs=1"),
        ("widths=(1.0, 0.8, 0.6, 0.4, 0.2),", "widths=(1.0, 0.4),"),
        ("student_5/int8", "student_2/int8"),
        ("data.test_arrays()", "data.test_arrays(300)"),
    ):
        assert long in code
        code = code.replace(long, short)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        timeout=400, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "student_2 int8: " in done.stdout
    assert "arrays, 180 training, 20 validation and 50 test images" in done.stdout


def test_what_it_names_is_there():
    text = (ROOT / "README.md").read_text()
    assert "@@" not in text
    for path in re.findall(r"\((docs/[\w.]+|configs|oekd_tf/[\w.]+)\)", text):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"--config=(\S+\.py)|python (benchmarks/\S+\.py)", text):
        assert (ROOT / (path[0] or path[1])).exists(), path
