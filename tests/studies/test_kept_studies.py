"""The studies in the documentation are what their results files say."""

import importlib.util
import json
from pathlib import Path

import pytest

from oekd_tf import config as config_module
from oekd_tf.core.tables import markdown_table
from oekd_tf.studies import results as results_file
from oekd_tf.studies.aggregate import methods
from oekd_tf.studies.report import markdown
from oekd_tf.studies.report_tables import student_rows
from oekd_tf.studies.robustness.measure import read_robustness
from oekd_tf.studies.robustness.over_seeds import write_differences

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "docs" / "studies").glob("*/results.json"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.parent.name)
def test_report_is_of_the_results(path):
    results = results_file.read(path)
    assert (path.parent / "report.md").read_text() == markdown(results)
    for run in results["runs"]:
        # Made by code that is in the repository's history.
        assert len(run["commit"]) == 40, run["commit"]
        assert run["epochs"] == results["config"]["epochs"]
    assert len({run["steps"] for run in results["runs"]}) == 1
    for name in ("accuracy", "curves", "reliability"):
        assert (path.parent / f"{name}.png").stat().st_size > 5000


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.parent.name)
def test_config_is_there(path):
    """The config file that the command names is the one that the study was made with."""
    results = results_file.read(path)
    (name,) = {
        part.removeprefix("--config=")
        for part in results["command"].split()
        if part.startswith("--config=")
    }
    spec = importlib.util.spec_from_file_location("kept", ROOT / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    here = config_module.from_json(config_module.to_json(module.get_config()))
    there = config_module.from_json(json.dumps(results["config"]))
    assert config_module.first_difference(here, there) is None


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.parent.name)
def test_results_page_has_the_study(path):
    table = markdown_table(student_rows(methods(results_file.read(path))[0]))
    assert table in (ROOT / "docs" / "results.md").read_text()


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_rows_of_other_pages_are_the_studies(page):
    """Every row of means and deviations stands in a study's report, whatever its padding."""
    reports = [path.with_name("report.md").read_text() for path in STUDIES]
    reports.append((ROOT / "docs" / "gpu" / "results.md").read_text())
    known = {_cells(line) for report in reports for line in report.splitlines()}
    rows = [line for line in (ROOT / page).read_text().splitlines() if line.startswith("|")]
    rows = [line for line in rows if "±" in line]
    assert len(rows) >= 5
    assert [line for line in rows if _cells(line) not in known] == []


def _cells(line):
    return tuple(cell.strip() for cell in line.split("|"))


def test_there_are_studies():
    assert STUDIES


def test_robustness_is_of_what_was_measured(tmp_path):
    folder = ROOT / "docs" / "studies" / "cifar10_8x8_resnet8" / "robustness"
    seeds = sorted(folder.glob("seed_*/robustness.json"))
    write_differences(tmp_path, {p.parent.name: read_robustness(p.parent) for p in seeds})
    report = (folder / "report.md").read_text()
    assert (tmp_path / "report.md").read_text() == report
    table = [line for line in report.partition("![")[0].splitlines() if line.startswith("|")]
    assert len(table) == 2 + 6
    assert "\n".join(table) in (ROOT / "docs" / "robustness.md").read_text()
    assert (folder / "differences.png").stat().st_size > 5000


def test_what_an_overlay_changes():
    report = (ROOT / "docs" / "studies" / "cifar10_8x8_resnet8_overlay" / "report.md").read_text()
    table = report.partition("## Against the study's own ensemble")[2].strip().partition("\n\n")[0]
    assert "maps_of_others" in table
    assert table in (ROOT / "docs" / "robustness.md").read_text()
