"""Tables of the documentation are those of the results that are kept beside it."""

import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import environment

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("script", ["pretrained_study.py", "teacher_study.py"])
def test_tables(script):
    done = subprocess.run(
        [sys.executable, str(DOCS / script), "--data_dir=none", "--table"], capture_output=True,
        text=True, check=False, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tables = [part.strip() for part in done.stdout.split("\n\n") if part.startswith("|")]
    assert tables
    page = (DOCS / "pretrained.md").read_text()
    assert f"python docs/{script} --data_dir=" in page
    for table in tables:
        assert table in page
