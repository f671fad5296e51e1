"""The report of a study whose figures were set by hand, rebuilt from its results file alone."""

import copy
import csv
import json
import subprocess
import sys

import pytest
from PIL import Image
from scipy.stats import t

from oekd_tf import config as config_module
from oekd_tf.core.errors import ResultsError
from oekd_tf.studies import results as results_file
from oekd_tf.studies.ablations import differences
from oekd_tf.studies.aggregate import methods
from oekd_tf.studies.alternatives import alternatives
from oekd_tf.studies.report import markdown, write_report
from oekd_tf.studies.statistics import Spread


def test_gains(results):
    found = {method.name: method for method in methods(results)}
    assert list(found) == ["ensemble", "alone", "offline", "mutual", "hot"]
    full, half, quarter = found["ensemble"].rows
    assert full.gain.values == pytest.approx((0, 100 / 70, -100 / 73))
    assert [row.gain.verdict for row in (full, half, quarter)] == [
        "no clear difference",
        "loses",
        "gains",
    ]
    assert half.accuracy.mean == pytest.approx(0.61)
    assert half.compressed == pytest.approx(70)
    assert full.int8_bytes == 4000
    assert found["hot"].rows[1].gain.mean > 0
    assert found["ensemble"].time_ratio == Spread(1.0, 0.0, 3)
    # Two students of 400 and 600 images in two bins, over three seeds.
    assert [one[0] for one in full.reliability[-2:]] == [1200, 1800]


class TestBalancedAccuracy:
    def measured(self, results, below):
        for run in results["runs"]:
            for one in (*run["students"], *([run["teacher"]] if run["teacher"] else [])):
                one["balanced_accuracy"] = one["accuracy"] - below
        return results

    def test_of_uneven_classes(self, results):
        results = self.measured(results, 0.1)
        for run in results["runs"]:
            if run["method"] == "alone" and run["student"] == 3:
                run["students"][0]["balanced_accuracy"] -= 0.01
        found = {method.name: method for method in methods(results)}
        quarter = found["ensemble"].rows[2]
        assert quarter.balanced.mean == pytest.approx((0.52 + 0.53 + 0.52) / 3 - 0.1)
        assert quarter.balanced_gain.values == pytest.approx((3, 4, 3))
        assert found["alone"].rows[2].balanced_gain is None
        text = markdown(results)
        assert "| balanced % | against alone, points |" in text.replace("  ", "")
        assert "+3.33 [+1.90, +4.77]" in text
        assert "*balanced*: mean over the classes" in text

    def test_it_says_nothing_new_of_even_ones(self, results):
        assert "balanced %" not in markdown(self.measured(results, 0.0))

    def test_older_studies(self, results):
        assert "balanced %" not in markdown(results)
        assert methods(results)[0].rows[0].balanced is None

    def test_files(self, results, tmp_path):
        results_file.write(tmp_path / results_file.FILE_NAME, self.measured(results, 0.1))
        write_report(tmp_path)
        rows = list(csv.DictReader((tmp_path / "runs.csv").read_text().splitlines()))
        balanced, accuracy = (float(rows[0][name]) for name in ("balanced_accuracy", "accuracy"))
        assert balanced == pytest.approx(accuracy - 0.1)


def test_early_stopping_is_said(results):
    results["config"]["early_stopping"]["monitor"] = "val_loss"
    text = markdown(results)
    assert "best on the validation split (`val_loss`)" in text
    assert "never at the best one" not in text
    results["config"]["early_stopping"]["monitor"] = ""
    assert "never at the best one" in markdown(results)


def test_what_one_would_do_otherwise(results):
    ways = {way.method: way for way in alternatives(results, methods(results))}
    assert {name: way.seconds.mean for name, way in ways.items()} == {
        "ensemble": 60,
        "alone": 40,
        # The teacher's time is counted.
        "offline": 20 + 2 * 25,
        "mutual": 100,
    }
    assert {name: way.models for name, way in ways.items()} == {
        "ensemble": 3, "alone": 2, "offline": 3, "mutual": 3,
    }  # fmt: skip
    half, quarter = ways["offline"].accuracies.values()
    assert half.mean == pytest.approx((0.61 + 0.62 + 0.64) / 3)
    assert quarter.mean == pytest.approx(0.51)
    lead = ways["offline"].leads["student_3"]
    assert lead.values == pytest.approx((1, 2, 1))
    # Student's t with two degrees of freedom: 4.303 standard errors.
    assert lead.low == pytest.approx(4 / 3 - 4.303 / 3, abs=1e-3)
    assert ways["ensemble"].leads["student_3"] is None
    plain = {
        **results,
        "runs": [r for r in results["runs"] if r["method"] in ("ensemble", "alone")],
    }
    assert alternatives(plain, methods(plain)) == []


def test_alternatives_of_one_student_and_of_some_seeds(results):
    kept = [r for r in results["runs"] if r["method"] != "mutual"]
    # Student 3 alone is distilled offline, and by two of three seeds.
    results["runs"] = [
        r for r in kept if r["method"] != "offline" or (r["student"] == 3 and r["seed"] < 2)
    ]
    ways = {way.method: way for way in alternatives(results, methods(results))}
    assert list(ways) == ["ensemble", "alone", "offline"]
    assert ways["offline"].models == 2
    assert ways["offline"].seconds == Spread(45.0, 0.0, 2)
    assert list(ways["ensemble"].accuracies) == ["student_3"]
    # All are of the same seeds.
    assert {way.accuracies["student_3"].count for way in ways.values()} == {2}
    rows = markdown(results).split("would do otherwise")[1].split("##")[0].splitlines()
    (row,) = [row for row in rows if row.startswith("| offline")]
    assert [cell.strip() for cell in row.split("|")][3:8] == [
        "51.00 ± 0.00", "+1.50 [-4.85, +7.85]", "2", "45 ± 0", "2",
    ]  # fmt: skip


def test_two_students_have_one_alternative(results):
    results["runs"] = [
        {**r, "students": [s for s in r["students"] if s["name"] != "student_3"]}
        for r in results["runs"]
        if r["student"] != 3
    ]
    ways = alternatives(results, methods(results))
    assert all(list(way.accuracies) == ["student_2"] for way in ways)
    assert {way.method: way.models for way in ways}["offline"] == 2


def test_time_of_seeds_that_are_not_whole(results):
    """A study that was stopped within its third seed, and a run that was not timed."""
    results["runs"] = [
        r for r in results["runs"]
        if not (r["seed"] == 2 and r["method"] == "alone" and r["student"] > 1)
    ]  # fmt: skip
    found = {method.name: method for method in methods(results)}
    assert found["alone"].seconds == Spread(60.0, 0.0, 2)
    assert found["ensemble"].time_ratio == Spread(1.0, 0.0, 2)
    for run in results["runs"]:
        if run["method"] == "ensemble" and run["seed"] < 2:
            run["train_seconds"] = None
    found = {method.name: method for method in methods(results)}
    assert found["ensemble"].seconds == Spread(60.0, None, 1)
    assert found["ensemble"].time_ratio is None
    assert "2 of " in markdown(results).split("## Training time")[1]


def test_failed_runs_are_named(results):
    results["failed"] = {"seed 1, hot": "A loss became NaN"}
    assert "- seed 1, hot: A loss became NaN" in markdown(results)


def test_ablations_beside_the_ensemble(results):
    (hot,) = differences(results)
    assert hot.method == "hot"
    assert hot.by_student["student_1"].values == pytest.approx((0, -1, -2))
    assert hot.by_student["student_2"].values == pytest.approx((6, 5, 4))
    assert hot.by_student["student_3"].values == pytest.approx((1, 0, 1))
    assert hot.mean.values == pytest.approx((7 / 3, 4 / 3, 1))
    # The curves of all runs are alike.
    assert hot.validation.values == (0, 0, 0)
    # Student's t with two degrees of freedom: 4.303 standard errors.
    assert hot.by_student["student_2"].low == pytest.approx(5 - 4.303 / 3**0.5, abs=1e-3)
    assert "+5.00 [+2.52, +7.48]" in markdown(results).split("study's own ensemble")[1]
    # An ablation with fewer students, and another network.
    for run in results["runs"]:
        if run["method"] == "hot":
            run["students"] = run["students"][:2]
            run["students"][0]["flops"] += 1
    (hot,) = differences(results)
    assert hot.by_student["student_1"] is hot.by_student["student_3"] is None
    assert hot.mean == hot.by_student["student_2"]


def test_markdown(results):
    text = markdown(results)
    assert "- student_2 (300 parameters, 70.0 % compressed): **loses**, -3.18 %" in text
    assert "- student_3 (100 parameters, 90.0 % compressed): **gains**, +4.67 %" in text
    assert "The ensemble with `loss.temperature = 8.0`." in text
    assert "each student from the labels" in text
    assert "c0ffee" in text
    assert "not tuned for it" in text
    own = {**results, "methods": {**results["methods"]}}
    own["methods"]["offline"] = {"method.arguments.temperature": 4}
    assert "with settings of its own: `temperature = 4`; others are the study's." in markdown(own)
    # Sizes are of the ensemble's student 1, whatever trained a student.
    assert text.split("## offline")[1].split("\n## ")[0].count("90.0 % compressed") == 1
    fields = ["- `name = 'three'`", "- `epochs = 2`", "- `ensemble.widths = [1.0, 0.5, 0.25]`"]
    *fields_shown, arguments = text.split("in `results.json`):")[1].strip().splitlines()
    assert fields_shown == fields
    assert arguments.startswith(
        "- `method.arguments = {'adaptation_initializer': 'glorot_uniform', "
    )
    assert "python -m oekd_tf.compare --seeds=3" in text


def test_one_seed_says_nothing(results):
    results["runs"] = [run for run in results["runs"] if run["seed"] == 0]
    text = markdown(results)
    assert "one seed, from which nothing follows" in text
    assert "**One seed shows nothing**" in text
    assert "±" not in text.split("## ensemble")[1].split("*together*")[0]


def test_two_seeds_say_next_to_nothing(results, tmp_path):
    seeds = sorted({run["seed"] for run in results["runs"]})
    assert len(seeds) == 3
    remark = "Two seeds can show next to nothing"
    assert remark not in markdown(results)
    results["runs"] = [run for run in results["runs"] if run["seed"] in seeds[:2]]
    text = markdown(results)
    assert f"**{remark}**: with one degree of freedom a 95 % interval reaches 12.7" in text
    # Student's t of one degree of freedom.
    assert round(float(t.ppf(0.975, 1)), 1) == 12.7
    results_file.write(tmp_path / "results.json", results)
    assert f"\n{remark}: with one" in write_report(tmp_path)


def test_runs_of_other_lengths_are_named(results):
    results["runs"][0]["steps"] = 19
    assert "not the same for all runs" in markdown(results)


def test_another_optimizer_is_no_fair_match(results):
    results["methods"]["hot"] = {"optimizer.learning_rate": 0.1}
    assert "no fair match" in markdown(results)


def test_files(results, tmp_path):
    results_file.write(tmp_path / "results.json", results)
    said = write_report(tmp_path)
    assert str(tmp_path / "report.md") in said
    for name in ("accuracy", "curves", "reliability", "gains"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert min(picture.size) > 300
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 20
    with open(tmp_path / "summary.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 + 3 + 2 + 2 + 3 + 2
    assert float(rows[1]["gain_percent"]) == pytest.approx(-100 * (2 / 62 + 2 / 63 + 2 / 64) / 3)
    with open(tmp_path / "runs.csv") as file:
        runs = list(csv.DictReader(file))
    assert sum(row["method"] == "ensemble" for row in runs) == 3 * 4

    # From the file alone, in another process: the same text, and no TensorFlow.
    before = (tmp_path / "report.md").read_text()
    (tmp_path / "report.md").unlink()
    program = (
        "import sys; from oekd_tf.comparison import write_report; "
        f"write_report({str(tmp_path)!r}); print('tensorflow' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "False"
    assert (tmp_path / "report.md").read_text() == before


def test_many_ablations_are_in_the_picture_of_gains_alone(results, tmp_path):
    results_file.write(tmp_path / "results.json", results)
    write_report(tmp_path)
    few = {p.name: p.read_bytes() for p in tmp_path.glob("*.png")}
    hot = [run for run in results["runs"] if run["method"] == "hot"]
    for number in range(5):
        results["methods"][f"hot_{number}"] = {"loss.temperature": 9.0 + number}
        results["runs"] += [{**run, "method": f"hot_{number}"} for run in hot]
    results_file.write(tmp_path / "results.json", results)
    write_report(tmp_path)
    many = {p.name: p.read_bytes() for p in tmp_path.glob("*.png")}
    results["methods"] = {k: v for k, v in results["methods"].items() if "hot" not in k}
    results["runs"] = [run for run in results["runs"] if "hot" not in run["method"]]
    results_file.write(tmp_path / "results.json", results)
    write_report(tmp_path)
    none = {p.name: p.read_bytes() for p in tmp_path.glob("*.png")}
    for name in ("accuracy.png", "curves.png", "reliability.png"):
        assert few[name] != many[name] == none[name]
    assert len({few["gains.png"], many["gains.png"], none["gains.png"]}) == 3


@pytest.mark.parametrize("field", ["optimizer.learning_rate", "backbone.arguments.depth"])
def test_what_the_baselines_lack_is_said(results, field):
    results["methods"]["hot"] = {field: 1}
    assert "without this change" in markdown(results)


def test_runs_of_no_method_are_refused(results, tmp_path):
    del results["methods"]["hot"]
    results_file.write(tmp_path / "results.json", results)
    with pytest.raises(ResultsError, match=r"method must be among methods, .* and is 'hot'$"):
        write_report(tmp_path)


@pytest.mark.parametrize("content", ['{"schema": 1}', "", "[1]", '{"schema": 99}', "{"])
def test_files_that_are_refused(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(ResultsError, match="Received: "):
        write_report(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_no_file(tmp_path):
    with pytest.raises(ResultsError, match="There must be a results file"):
        write_report(tmp_path)


def test_gone_on_with(results, tmp_path):
    path = tmp_path / "results.json"
    results_file.write(path, results)
    config = config_module.from_json(results_file.json.dumps(results["config"]))
    again = results_file.begin(path, config, {"cold": {"loss.temperature": 1.0}}, "again")
    assert again["runs"] == results["runs"]
    assert list(again["methods"]) == [*results["methods"], "cold"]
    assert again["command"].splitlines() == [results["command"], "again"]
    with pytest.raises(ResultsError, match="--ablation=hot must be what"):
        results_file.begin(path, config, {"hot": {"loss.temperature": 1.0}}, "")
    config.epochs = 3
    with pytest.raises(ResultsError, match=r"was made with config\.epochs=2, not 3\. Use the same"):
        results_file.begin(path, config, {}, "")


def test_a_method_that_is_written_otherwise_goes_on(results, tmp_path):
    path = tmp_path / results_file.FILE_NAME
    fields = {"method.name": "dml", "method.arguments.temperature": 3, "method.arguments.T": [1, 2]}
    results["methods"] |= {"by_dml": fields, "cold": {"loss.temperature": 1.0}}
    asked = {
        "dml_T_1_2": dict(reversed({**fields, "method.arguments.T": (1, 2)}.items())),
        "chill": {"loss.temperature": 1.0},
        "labels": {"method.name": "labels"},
    }
    assert results_file.with_known_names(path, asked) == asked
    results_file.write(path, results)
    named = results_file.with_known_names(path, asked)
    # Whoever names an ablation means that name.
    assert list(named) == ["by_dml", "chill", "labels"]


def test_what_a_results_file_names_is_not_run(results, tmp_path, monkeypatch):
    """It may be someone else's: to import a module is to run it."""
    (tmp_path / "theirs.py").write_text(
        f"open({str(tmp_path / 'touched')!r}, 'w').close()\nbackbone = None\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for section, name in (("backbone", "theirs:backbone"), ("method", "theirs:Method")):
        other = copy.deepcopy(results)
        other["config"][section] = {"name": name, "arguments": {}}
        path = tmp_path / "results.json"
        results_file.write(path, other)
        write_report(tmp_path)
        config = config_module.from_json(json.dumps(results["config"]))
        with pytest.raises(ResultsError, match=rf"config\.{section}\.name='{name}'"):
            results_file.begin(path, config, {}, "oekd compare")
    assert not (tmp_path / "touched").exists()
    # The module does what it is said to do.
    with pytest.raises(config_module.ConfigError):
        config_module.from_json(json.dumps(other["config"]))
    assert (tmp_path / "touched").exists()


def test_another_report_is_kept(results, tmp_path):
    results_file.write(tmp_path / "results.json", results)
    write_report(tmp_path)
    write_report(tmp_path)
    (tmp_path / "report.md").write_text("# My notes\n")
    with pytest.raises(ResultsError, match=r"must not replace another file.*report\.md, which is"):
        write_report(tmp_path)
    assert (tmp_path / "report.md").read_text() == "# My notes\n"
