"""Gains by the value of a field: by hand, and of a small study."""

import copy
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from small_runs import environment, small_config

from oekd_tf.core.errors import ConfigError
from oekd_tf.studies import results as results_file
from oekd_tf.studies.by_rate import Rates, compare_by_rate, parse_rates, write_rates


@pytest.mark.parametrize(
    ("text", "values"),
    [("data.label_noise:0,0.2,0.4", (0, 0.2, 0.4)), ("data.imbalance: 1, 100", (1, 100))],
)
def test_parsing(text, values):
    assert parse_rates(text) == Rates(text.partition(":")[0], values)


@pytest.mark.parametrize(
    "text",
    ["", "data.label_noise", "data.label_noise:0.2", "data.label_noise:0,0", "data.noise:0,1",
     "data.label_noise:0,few", "data.label_noise:0,True"],
)  # fmt: skip
def test_what_is_no_flag(text):
    with pytest.raises(ConfigError, match="--rates must be FIELD:number,number") as caught:
        parse_rates(text)
    assert f"Received: {text!r}" in str(caught.value)


def test_the_table_by_hand(results, tmp_path):
    rates = Rates("data.label_noise", (0, 0.4))
    harder = copy.deepcopy(results)
    for run in harder["runs"]:
        for student in run["students"]:
            # Students alone lose a fifth, those of the ensemble a tenth.
            student["accuracy"] *= 0.9 if run["method"] == "ensemble" else 0.8
    # A seed more at the first value is in its gain, and not in what is paired.
    for run in [run for run in results["runs"] if run["seed"] == 0 and run["student"] in (0, 3)]:
        if run["method"] in ("ensemble", "alone"):
            results["runs"].append({**copy.deepcopy(run), "seed": 7})
    for value, found in ((0, results), (0.4, harder)):
        folder = tmp_path / f"label_noise_{value}"
        folder.mkdir()
        (folder / results_file.FILE_NAME).write_text(json.dumps(found))
    said = write_rates(tmp_path, rates)
    report = (tmp_path / "rates.md").read_text()
    (row,) = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in report.partition("## Accuracies")[0].splitlines()
        if line.startswith("| ensemble")
        and "student_3" in line
        and "student\\_3" in line.replace("student_3", "student\\_3")
    ]
    # 0.52, 0.53, 0.52 over 0.50, and 1.125 times that.
    gains = np.array([4.0, 6.0, 4.0])
    later = 100 * ((1 + gains / 100) * 0.9 / 0.8 - 1)
    with_more = np.array([*gains, gains[0]])
    for text, values in ((row[2], with_more), (row[3], later), (row[4], later - gains)):
        mean, low, high = (float(n) for n in text.replace("[", "").replace("]", "").replace(
            ",", "").split())  # fmt: skip
        half = {3: 4.302653, 4: 3.182446}[len(values)] * values.std(ddof=1) / np.sqrt(len(values))
        expected = [values.mean(), values.mean() - half, values.mean() + half]
        assert [mean, low, high] == pytest.approx(expected, abs=0.006)
    assert report.splitlines()[2] in said
    with Image.open(tmp_path / "rates.png") as picture:
        assert picture.size[0] > 600
    assert "Worst class" not in report, "a study that did not measure it"
    # Baselines alone have accuracies, and no gains.
    assert "| alone" not in report.partition("## Accuracies")[0]
    assert "| alone" in report.partition("## Accuracies")[2]


def test_the_worst_class_by_hand(results, tmp_path):
    for value, lost in ((1, 0.0), (100, 0.1)):
        own = copy.deepcopy(results)
        for run in own["runs"]:
            for student in run["students"]:
                together = 0.4 - 0.01 * run["seed"] - lost
                student["worst_recall"] = together if run["method"] == "ensemble" else 0.3 - lost
        folder = tmp_path / f"imbalance_{value}"
        folder.mkdir()
        (folder / results_file.FILE_NAME).write_text(json.dumps(own))
    write_rates(tmp_path, Rates("data.imbalance", (1, 100)))
    table = (tmp_path / "rates.md").read_text().partition("## Worst class")[2]
    (row,) = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in table.splitlines()
        if line.startswith("| ensemble") and "student_3" in line
    ]
    # 40, 39 and 38 % over 30: 10, 9 and 8 points; half an interval is 4.302653 / √3.
    assert row[2:] == ["39.00 ± 1.00, +9.00 [+6.52, +11.48]", "29.00 ± 1.00, +9.00 [+6.52, +11.48]"]
    (alone,) = [line for line in table.splitlines() if "alone" in line and "student_3" in line]
    assert "20.00 ± 0.00" in alone


def test_studies_that_are_not_there(tmp_path):
    with pytest.raises(ConfigError, match="must hold studies of --rates") as caught:
        write_rates(tmp_path, Rates("data.imbalance", (1, 10)))
    assert "imbalance_1" in str(caught.value)


def test_a_value_that_breaks_the_rule_begins_nothing(tmp_path):
    rates = Rates("data.label_noise", (0.5, 1.0))
    with pytest.raises(ConfigError, match=r"config.data.label_noise must be"):
        compare_by_rate(small_config(), tmp_path / "study", rates, seeds=1)
    assert not (tmp_path / "study").exists()


# It takes minutes: six processes.
@pytest.mark.slow
def test_a_study_at_two_rates(tmp_path):
    arguments = [
        "--config.epochs=1", "--config.schedule.warmup_epochs=0",
        "--config.data.max_examples=128", "--config.ensemble.widths=(1.0,0.5)",
        "--config.batch_size=32", "--students=2", "--seeds=1", "--workdir=study",
    ]  # fmt: skip

    def run(*more):
        return subprocess.run(
            [sys.executable, "-m", "oekd_tf", "compare", *arguments, *more], cwd=tmp_path,
            capture_output=True, text=True, timeout=600, check=False, env=environment(),
        )  # fmt: skip

    done = run("--rates=data.label_noise:0,0.5", "--config.data.label_noise_kind=pair")
    assert done.returncode == 0, done.stderr
    assert "at 0.5" in done.stdout
    for value, noise in (("0", 0.0), ("0.5", 0.5)):
        folder = tmp_path / "study" / f"label_noise_{value}"
        found = json.loads((folder / "results.json").read_text())
        assert found["config"]["data"]["label_noise"] == noise
        assert (folder / "report.md").exists()
    assert (tmp_path / "study" / "rates.md").exists()
