"""Differences of a study's students together and alone, over seeds."""

import copy

import numpy as np
import pytest
from PIL import Image

from oekd_tf.core.errors import ConfigError
from oekd_tf.studies.robustness.material import Settings
from oekd_tf.studies.robustness.over_seeds import measure_study, seeds_of, write_differences

TOGETHER = {"accuracy": {"test": 0.8}, "corruption": {"fog 3": 0.4, "jpeg 3": 0.6}}
ALONE = {"accuracy": {"test": 0.7}, "corruption": {"fog 3": 0.3, "jpeg 3": 0.4}}


def network(student, trained, scores, form="keras"):
    return {
        "student": student, "trained": trained, "form": form, "width": 1.0, "parameters": 10,
        "scores": copy.deepcopy(scores),
    }  # fmt: skip


@pytest.fixture
def found():
    seeds = {}
    for seed, more in enumerate((0.0, 0.01, 0.05)):
        networks = [
            network("student_1", "together", TOGETHER), network("student_1", "alone", ALONE),
            network("student_2", "together", TOGETHER),
        ]  # fmt: skip
        networks[0]["scores"]["accuracy"]["test"] += more
        seeds[f"seed_{seed}"] = {
            "made_by": {}, "contract": None, "settings": Settings(severities=(3,))._asdict(),
            "images": 50, "properties": ["accuracy", "corruption"], "networks": networks,
        }  # fmt: skip
    return seeds


def test_the_table_by_hand(found, tmp_path):
    said = write_differences(tmp_path / "new", found)
    report = (tmp_path / "new" / "report.md").read_text()
    rows = [line for line in report.splitlines() if line.startswith("| student_")]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    # Student 2 was not trained alone: one row of differences, three of means.
    assert len(rows) == 4
    values = np.array([10.0, 11.0, 15.0])
    half = 4.302653 * values.std(ddof=1) / np.sqrt(3)
    expected = f"+12.00 [{12 - half:+.2f}, {12 + half:+.2f}]"
    assert cells[0] == ["student_1", "keras", expected, "+15.00 [+15.00, +15.00]", cells[0][4]]
    # The share that is kept: 50 of 80, 81 and 85, and 35 of 70.
    kept = 100 * np.mean([50 / 80, 50 / 81, 50 / 85]) - 50
    assert cells[0][4].startswith(f"{kept:+.2f} [")
    assert cells[1][:4] == ["student_1", "together", "keras", "82.0 ± 2.6"]
    assert rows[0] in said
    with Image.open(tmp_path / "new" / "differences.png") as picture:
        assert picture.size[0] > 500


def test_no_baseline(found, tmp_path):
    for one in found.values():
        del one["networks"][1]
    assert "No student was trained alone, too." in write_differences(tmp_path, found)
    assert not (tmp_path / "differences.png").exists()


def test_a_folder_that_is_no_study(tmp_path):
    (tmp_path / "seed_0").mkdir()
    assert seeds_of(tmp_path) == []
    with pytest.raises(ConfigError, match="must hold a study with a finished ensemble"):
        measure_study(tmp_path)
    for seed in (10, 2):
        (tmp_path / f"seed_{seed}").mkdir()
        (tmp_path / f"seed_{seed}" / "summary.json").touch()
    assert [folder.name for folder in seeds_of(tmp_path)] == ["seed_2", "seed_10"]
