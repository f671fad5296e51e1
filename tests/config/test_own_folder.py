"""The template for a folder of one's own images, as a newcomer runs it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_runs
from PIL import Image

ROOT = Path(__file__).parents[2]


@pytest.mark.integration
def test_the_command_of_the_docstring(tmp_path, rng):
    for split, count in (("train", 24), ("test", 6)):
        for name, colour in (("dark", 60), ("light", 190)):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                # Of different sizes and formats, as photos are.
                shape = (int(rng.integers(40, 90)), int(rng.integers(40, 90)), 3)
                pixels = np.clip(rng.normal(colour, 30, shape), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.{('png', 'jpg')[index % 2]}")
    text = (ROOT / "configs" / "own_folder.py").read_text()
    assert "oekd train --config=configs/own_folder.py --config.data.data_dir=photos\n" in text
    done = subprocess.run(
        [sys.executable, "-m", "oekd_tf", "train", "--config=configs/own_folder.py",
         "--config.data.data_dir=photos", "--config.epochs=3", "--config.batch_size=8",
         "--config.backbone.arguments.depth=8", "--config.ensemble.widths=(1.0, 0.4)",
         "--config.export.max_accuracy_drop=1.0", "--config.data.image_size=(24, 24)"],
        cwd=tmp_path, env=small_runs.environment(), capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "runs" / "own_folder" / "summary.json").read_text())
    assert summary["epochs"] == 3
    manifest = json.loads((tmp_path / "savedmodels" / "own_folder" / "manifest.json").read_text())
    assert manifest["class_names"] == ["dark", "light"]
    for student in manifest["students"]:
        assert student["input_shape"] == [24, 24, 3]
        assert set(student["formats"]) == {"float32", "int8"}


@pytest.mark.integration
def test_a_folder_is_asked_for(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "oekd_tf", "train", "--config=configs/own_folder.py"],
        cwd=tmp_path, env=small_runs.environment(), capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: config.data.data_dir must be ")
