"""The embedded data set's files are what the script writes."""

import runpy
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "oekd_tf" / "data" / "datasets" / "fashion_mnist_mini" / "1.0.0"


def test_sorting_leaves_the_committed_records_as_they_are(tmp_path):
    script = runpy.run_path(str(ROOT / "scripts" / "make_fashion_mnist_mini.py"))
    for record in FOLDER.glob("*.tfrecord-*"):
        copy = Path(shutil.copy(record, tmp_path))
        script["sort_features"](copy)
        assert copy.read_bytes() == record.read_bytes()
