"""The report of a study whose figures were set by hand, rebuilt from its results file alone."""

import csv
import subprocess
import sys

import pytest
from PIL import Image

from oekd_tf.comparison import results as results_file
from oekd_tf.comparison.aggregate import methods
from oekd_tf.comparison.alternatives import alternatives
from oekd_tf.comparison.report import markdown, write_report
from oekd_tf.comparison.results import ResultsError


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
    assert found["ensemble"].time_ratio == (1.0, 0.0, 3)
    # Two students of 400 and 600 images in two bins, over three seeds.
    assert [one[0] for one in full.reliability[-2:]] == [1200, 1800]


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
    half, quarter = ways["offline"].accuracies
    assert half.mean == pytest.approx((0.61 + 0.62 + 0.64) / 3)
    assert quarter.mean == pytest.approx(0.51)
    plain = {
        **results,
        "runs": [r for r in results["runs"] if r["method"] in ("ensemble", "alone")],
    }
    assert alternatives(plain, methods(plain)) == []


def test_markdown(results):
    text = markdown(results)
    assert "- student_2 (300 parameters, 70.0 % compressed): **loses**, -3.18 %" in text
    assert "- student_3 (100 parameters, 90.0 % compressed): **gains**, +4.67 %" in text
    assert "The ensemble with `loss.temperature = 8.0`." in text
    assert "each student from the labels" in text
    assert "c0ffee" in text
    fields = ["- `name = 'three'`", "- `epochs = 2`", "- `ensemble.widths = [1.0, 0.5, 0.25]`"]
    assert text.split("(all are in `results.json`):")[1].strip().splitlines() == fields
    assert "python -m oekd_tf.compare --seeds=3" in text


def test_one_seed_says_nothing(results):
    results["runs"] = [run for run in results["runs"] if run["seed"] == 0]
    text = markdown(results)
    assert "one seed, from which nothing follows" in text
    assert "±" not in text.split("## ensemble")[1].split("*together*")[0]


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
    for name in ("accuracy", "curves", "reliability"):
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


@pytest.mark.parametrize("content", ["", "[1]", '{"schema": 99}', "{"])
def test_files_that_are_refused(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(ResultsError, match="Received: "):
        write_report(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_no_file(tmp_path):
    with pytest.raises(ResultsError, match="There must be a results file"):
        write_report(tmp_path)


def test_gone_on_with(results, tmp_path):
    from oekd_tf import config as config_module

    path = tmp_path / "results.json"
    results_file.write(path, results)
    config = config_module.from_json(results_file.json.dumps(results["config"]))
    again = results_file.begin(path, config, {"cold": {"loss.temperature": 1.0}}, "again")
    assert again["runs"] == results["runs"]
    assert list(again["methods"]) == [*results["methods"], "cold"]
    with pytest.raises(ResultsError, match="'hot' must be what"):
        results_file.begin(path, config, {"hot": {"loss.temperature": 1.0}}, "")
    config.epochs = 3
    with pytest.raises(ResultsError, match=r"config.epochs must be what .*Received: 3"):
        results_file.begin(path, config, {}, "")
