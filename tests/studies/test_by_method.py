"""The table of distillation methods, of a study whose figures were set by hand."""

import copy
import csv

import numpy as np
import pytest
from PIL import Image
from scipy.stats import t

from oekd_tf.studies import results as results_file
from oekd_tf.studies.by_method import by_method
from oekd_tf.studies.figures import gain_limits
from oekd_tf.studies.report import markdown, write_report
from oekd_tf.studies.statistics import Spread, interval

DML = {"method.name": "dml", "method.arguments.temperature": 3.0}


@pytest.fixture
def several(results):
    """Three more methods: one whose seed 2 failed, one whose runs all did, one not begun."""
    own = [run for run in results["runs"] if run["method"] == "ensemble"]
    for run in own:
        run["trained_by"] = "oekd (online ensemble distillation)"
    for seed, points in ((0, 0.01), (1, 0.03)):
        run = copy.deepcopy(own[seed])
        run |= {"method": "dml_temperature_3.0", "train_seconds": 75.0 + 15 * seed}
        run["trained_by"] = "dml (deep mutual learning), temperature=3.0"
        run["teacher"]["accuracy"] = 0.76
        for student in run["students"]:
            student["accuracy"] += points
        results["runs"].append(run)
    results["methods"] |= {
        "dml_temperature_3.0": DML,
        "Mine": {"method.name": "my.module:Mine", "method.arguments.T": [1, 2]},
        "own_stems": {"method.name": "dml", "ensemble.shared_stem": False},
    }
    results["failed"] = {
        "seed 2, dml_temperature_3.0": "a loss became NaN",
        **{f"seed {seed}, Mine": "a loss became NaN" for seed in range(3)},
        "seed 0, student 1 Mine": "not of it",
    }
    return results


def test_over_the_seeds_that_all_share(several):
    own, dml, *others = by_method(several)
    assert [row.label for row in (own, dml, *others)] == [
        "oekd (online ensemble distillation)",
        "dml (deep mutual learning), temperature=3.0",
        "my.module:Mine, T=[1, 2]",
        "dml, ensemble.shared_stem=False",
    ]
    assert own.seeds == dml.seeds == (0, 1)
    assert own.accuracies["student_1"].mean == pytest.approx((0.70 + 0.71) / 2)
    assert dml.accuracies["student_3"].mean == pytest.approx((0.53 + 0.56) / 2)
    assert dml.gains["student_3"].values == pytest.approx((6, 12))
    # Alone the students had 0.70, 0.62 and 0.50, then 0.70, 0.63 and 0.50.
    gains = (1 / 70 - 1 / 62 + 3 / 50) / 3, (4 / 70 + 1 / 63 + 6 / 50) / 3
    assert dml.gain.values == pytest.approx([100 * gain for gain in gains])
    half = t.ppf(0.975, 1) * 100 * (gains[1] - gains[0]) / 2
    assert dml.gain.high - dml.gain.mean == pytest.approx(half)
    assert dml.teacher == Spread(0.76, 0.0, 2)
    assert own.step == Spread(1.0, 0.0, 2)
    assert dml.step.mean == pytest.approx((75 / 60 + 90 / 60) / 2)
    assert [row.remark for row in (own, dml, *others)] == [
        "",
        "seed 2 failed",
        "seeds 0, 1, 2 failed",
        "seeds 0, 1, 2 not trained",
    ]
    assert all(row.accuracies == {} and row.gain is None for row in others)


def test_students_that_were_not_trained_alone(several):
    several["runs"] = [
        run
        for run in several["runs"]
        # Student 2 has no baseline, student 3 one of a single seed.
        if run["method"] != "alone" or (run["student"], run["seed"]) in ((1, 0), (1, 1), (3, 1))
    ]
    _, dml, *_ = by_method(several)
    assert dml.gains["student_2"] is None
    assert dml.gains["student_3"].values == pytest.approx([12])
    # The mean is of the same students in each seed.
    assert dml.gain == dml.gains["student_1"]


def test_steps_are_compared_on_one_machine(several):
    for run in several["runs"]:
        cores = 2 if run["method"] == "ensemble" and run["seed"] == 0 else 1
        run["machine"] = {"processor": "some", "cores": cores}
    assert by_method(several)[1].step == Spread(1.5, None, 1)
    for run in several["runs"]:
        if run["method"] == "ensemble":
            run["train_seconds"] = None
    assert by_method(several)[1].step is None


def test_other_widths_are_other_students(several):
    for run in several["runs"]:
        if run["method"].startswith("dml"):
            del run["students"][1]
            run["students"][1]["width"] = 0.3
    _, dml, *_ = by_method(several)
    assert dml.accuracies["student_2"] is dml.accuracies["student_3"] is None
    assert dml.gain == dml.gains["student_1"]


def test_report(several, tmp_path):
    results_file.write(tmp_path / results_file.FILE_NAME, several)
    said = write_report(tmp_path)
    text = (tmp_path / "report.md").read_text()
    section = text.split("\n## Methods\n")[1].split("\n## ")[0]
    lines = [[cell.strip() for cell in line.split("|")] for line in section.splitlines()]
    rows = {cells[1]: cells[2:] for cells in lines if len(cells) > 3}
    assert rows["dml (deep mutual learning), temperature=3.0"][:3] == ["72.50", "62.50", "54.50"]
    assert rows["dml (deep mutual learning), temperature=3.0"][4:7] == [
        "76.00 ± 0.00", "1.38 ± 0.18", "seed 2 failed",
    ]  # fmt: skip
    assert rows["my.module:Mine, T=[1, 2]"][-2] == "seeds 0, 1, 2 failed"
    assert "means over seeds 0, 1," in section
    # The same table on the console.
    assert "methods, seeds 0, 1:" in said
    assert all(line in said for line in section.splitlines() if line.startswith("|"))
    found = list(csv.DictReader((tmp_path / "methods.csv").read_text().splitlines()))
    assert [row["method"] for row in found] == [
        "ensemble", "dml_temperature_3.0", "Mine", "own_stems",
    ]  # fmt: skip
    assert float(found[1]["student_3_gain_percent"]) == pytest.approx(9)
    assert found[1]["seeds"] == "0 1"
    assert float(found[1]["step_time_ratio"]) == pytest.approx(1.375)
    assert found[2]["remark"] == "seeds 0, 1, 2 failed"
    assert found[2]["student_1_accuracy"] == ""


def test_a_study_of_one_method_has_no_such_table(results, tmp_path):
    results_file.write(tmp_path / results_file.FILE_NAME, results)
    assert by_method(results) == []
    assert "methods" not in write_report(tmp_path)
    assert "## Methods" not in markdown(results)
    assert not (tmp_path / "methods.csv").exists()


def test_picture(several, tmp_path):
    """A row for each method, a failed one too, however long the words for it are."""
    results_file.write(tmp_path / results_file.FILE_NAME, several)
    heights = []
    for words in ("dml", "dml, teacher=" + "a/path/of/a/teacher/" * 30):
        for run in several["runs"]:
            if run["method"] == "dml_temperature_3.0":
                run["trained_by"] = words
        results_file.write(tmp_path / results_file.FILE_NAME, several)
        write_report(tmp_path)
        with Image.open(tmp_path / "gains.png") as picture:
            pixels = np.asarray(picture.convert("L"))
        # No label runs over the edge.
        assert pixels[:, 0].min() == pixels[0].min() == pixels[-1].min() == 255
        heights.append(len(pixels))
    # Two lines each in the first, four in the second.
    assert heights[0] < heights[1] < 1.7 * heights[0]


def test_a_method_that_fell_apart_leaves_the_others_apart():
    gains = [interval([1.0 + n, 2.0 + n, 3.0 + n]) for n in range(4)]
    low, high = gain_limits([*gains, interval([-82.0, -84.0, -83.0])])
    assert -40 < low < 0
    assert high > max(gain.high for gain in gains)
    # Without it all are shown whole.
    low, high = gain_limits(gains)
    assert low < min(gain.low for gain in gains)
    assert high > max(gain.high for gain in gains)
    assert gain_limits([interval([0.0])]) == pytest.approx((-0.06, 0.06))
