"""Runs whose widths are found from budgets for their int8 files."""

import json

import pytest
from small_runs import small_config

from oekd_tf import config as config_module
from oekd_tf import training
from oekd_tf.core.errors import ConfigError
from oekd_tf.training.widths import with_known_widths


def _budgeted(budgets=(20_000, 8_000), latency_ms=(), **changes):
    config = small_config(epochs=1, **changes)
    config.ensemble.widths = config_module.default_config().ensemble.widths
    config.ensemble.int8_bytes = budgets
    config.ensemble.latency_ms = latency_ms
    config.backbone.name = "networks:PlainCnn"
    with config.backbone.unlocked():
        config.backbone.arguments = {"channels": (16, 96)}
    return config


@pytest.mark.slow
@pytest.mark.integration
def test_files_of_a_run_fit_the_budgets_and_a_resume_does_not_search(tmp_path):
    said = []
    config = _budgeted(export__formats=("int8",), export__output=str(tmp_path / "export"))
    config.export.max_accuracy_drop = 1.0
    summary = training.train(config, tmp_path / "run", said.append)
    assert any("bytes in int8" in line for line in said)
    manifest = json.loads((tmp_path / "export" / "manifest.json").read_text())
    sizes = [s["formats"]["int8"]["bytes"] for s in manifest["students"]]
    # Near the budget: the widest that fits, not just any.
    assert 18_500 < sizes[1] <= 20_000
    assert 7_000 < sizes[2] <= 8_000
    found = tuple(student["width"] for student in summary["students"])
    kept = config_module.from_json((tmp_path / "run" / "config.json").read_text())
    assert kept.ensemble.widths == found
    assert kept.ensemble.int8_bytes == (20_000, 8_000)
    said.clear()
    assert training.train(config, tmp_path / "run", said.append)["students"] == summary["students"]
    assert not any("bytes in int8" in line for line in said)
    # A baseline below the run is of the same network.
    alone = _budgeted(only_student=2)
    baseline = training.train(alone, tmp_path / "run", said.append)
    assert baseline["students"][0]["width"] == found[1]
    assert not any("bytes in int8" in line for line in said)
    _, _, model = training.restore_run(tmp_path / "run")
    assert tuple(model.widths) == found
    with pytest.raises(ConfigError, match=r"made with config\.ensemble\.int8_bytes"):
        training.train(_budgeted((20_000, 9_000)), tmp_path / "run", said.append)


@pytest.mark.integration
@pytest.mark.slow
def test_a_run_measures_latency_once_and_what_was_trained_is_exported(tmp_path):
    """Both kinds of budgets; the loose one is always kept, whatever else the machine does."""
    said = []

    def budgeted(latency_ms):
        config = _budgeted((6_500,), (latency_ms,), export__formats=("int8",))
        # Few networks.
        config.backbone.arguments.channels = (4, 24)
        return config

    config = budgeted(1000.0)
    config.export.output = str(tmp_path / "export")
    config.export.max_accuracy_drop = 1.0
    summary = training.train(config, tmp_path / "run", said.append)
    assert "widths for int8 files of at most 6,500 bytes and 1,000.0 ms ..." in said
    assert any("ms in int8, 1 thread" in line for line in said)
    (_, found) = (student["width"] for student in summary["students"])
    manifest = json.loads((tmp_path / "export" / "manifest.json").read_text())
    assert manifest["students"][1]["width"] == found
    assert manifest["students"][1]["formats"]["int8"]["bytes"] <= 6_500
    kept = config_module.from_json((tmp_path / "run" / "config.json").read_text())
    assert kept.ensemble.widths == (1.0, found)
    assert kept.ensemble.latency_ms == (1000.0,)
    said.clear()
    assert training.train(config, tmp_path / "run", said.append)["students"] == summary["students"]
    assert not any("bytes in int8" in line or "ms in int8" in line for line in said)
    with pytest.raises(ConfigError, match=r"made with config\.ensemble\.latency_ms"):
        training.train(budgeted(999.0), tmp_path / "run", said.append)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("budgets", "rule"),
    [
        ((100,), r"config\.ensemble\.int8_bytes must be budgets that students fit.*Received: \{"),
        ((10**7, 10**6), r"below the full-width student's size.*Received: "),
    ],
)
def test_an_impossible_budget_is_one_line(tmp_path, budgets, rule):
    with pytest.raises(ConfigError, match=rule) as caught:
        training.train(_budgeted(budgets), tmp_path / "run", lambda line: None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("widths", [(1.0, 0.5, 0.25), (1.0, 0.5)])
def test_widths_and_budgets_together_are_refused(tmp_path, widths):
    config = _budgeted()
    config.ensemble.widths = widths
    with pytest.raises(ConfigError, match=r"config\.ensemble\.widths must be left out.*Received"):
        training.train(config, tmp_path / "run", lambda line: None)
    assert not (tmp_path / "run").exists()


def test_widths_of_another_network_are_not_taken(tmp_path):
    there = _budgeted()
    there.ensemble.widths = (1.0, 0.5, 0.25)
    (tmp_path / "config.json").write_text(config_module.to_json(there))
    files = [tmp_path / "none.json", tmp_path / "config.json"]
    assert with_known_widths(_budgeted(), files).ensemble.widths == (1.0, 0.5, 0.25)
    # Of the same network, but measured for another time.
    other = _budgeted(latency_ms=(2.0, 1.0))
    assert with_known_widths(other, files) is other
    other = _budgeted()
    other.backbone.arguments.channels = (8, 96)
    assert with_known_widths(other, files) is other


@pytest.mark.parametrize("budgets", [(8_000, 20_000), (0,), (1.5,), (5_000, 5_000)])
def test_budgets_fall(budgets):
    with pytest.raises(ConfigError, match=r"config\.ensemble\.int8_bytes must be falling whole"):
        config_module.check(_budgeted(budgets))


@pytest.mark.parametrize("limits", [(0.1, 0.2), (0.0,), (True,), ("1",), (0.1, 0.1)])
def test_latencies_fall(limits):
    with pytest.raises(ConfigError, match=r"config\.ensemble\.latency_ms must be falling numbers"):
        config_module.check(_budgeted((), limits))


def test_budgets_of_both_kinds():
    assert config_module.budgets(_budgeted((), (0.2, 0.1))) == [
        {"latency_ms": 0.2},
        {"latency_ms": 0.1},
    ]
    both = _budgeted((20_000, 8_000), (0.2, 0.1))
    config_module.check(both)
    assert config_module.budgets(both)[1] == {"int8_bytes": 8_000, "latency_ms": 0.1}
    config_module.drop_budgets(both)
    assert config_module.budgets(both) == []
    with pytest.raises(ConfigError, match=r"latency_ms must have a number for each of .*Received"):
        config_module.check(_budgeted((20_000, 8_000), (0.2,)))
    with pytest.raises(ConfigError, match=r"latency_ms must be \(\) with .*'multi_worker'"):
        config_module.check(_budgeted((), (0.2,), strategy="multi_worker"))


def test_only_student_counts_the_budgets():
    config_module.check(_budgeted(only_student=3))
    with pytest.raises(ConfigError, match="at most the number of students, 3"):
        config_module.check(_budgeted(only_student=4))
