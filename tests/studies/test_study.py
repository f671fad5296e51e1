"""Studies that train: started as a user starts them, stopped, gone on with."""

import csv
import json
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
from small_runs import CONFIG, environment

from oekd_tf.studies import metrics as evaluation

pytestmark = pytest.mark.integration


def command(folder, *arguments):
    path = folder / "tiny.py"
    path.write_text(CONFIG)
    return [
        sys.executable, "-m", "oekd_tf.compare", f"--config={path}",
        f"--workdir={folder / 'study'}", *arguments,
    ]  # fmt: skip


def start(folder, *arguments):
    return subprocess.run(
        command(folder, *arguments), cwd=folder, capture_output=True, text=True, timeout=600,
        check=False, env=environment(),
    )  # fmt: skip


def read(folder):
    return json.loads((folder / "study" / "results.json").read_text())


def check_metrics(study, runs):
    """Every figure of the results is that of the logits that the run left."""
    for run in runs:
        folder = study / f"seed_{run['seed']}"
        if run["student"]:
            folder /= f"baseline_student_{run['student']}"
        with np.load(folder / "test_logits.npz") as arrays:
            for student in run["students"]:
                logits, labels = arrays[student["name"]], arrays["labels"]
                assert len(labels) == run["test_images"] == 2000
                accuracy = (logits.argmax(-1) == labels).mean()
                assert student["accuracy"] == pytest.approx(accuracy, abs=1e-7)
                likelihood = evaluation.negative_log_likelihood(logits, labels)
                assert student["nll"] == pytest.approx(likelihood, abs=1e-7)
        summary = json.loads((folder / "summary.json").read_text())
        for student, there in zip(run["students"], summary["students"], strict=True):
            assert student["accuracy"] == pytest.approx(there["test_accuracy"], abs=1e-6)


def end(folder, number, *arguments):
    """What is said of a study, and of its worker, after it gets a signal in the second epoch."""
    process = subprocess.Popen(
        command(folder, *arguments), cwd=folder, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("epoch 2/30 step"):
            process.send_signal(number)
            break
    rest, _ = process.communicate(timeout=120)
    assert process.returncode == (143 if number == signal.SIGTERM else -number), [*said, rest]
    return rest


@pytest.mark.slow
def test_a_killed_study_takes_its_worker_along(tmp_path):
    """It leaves its checkpoint, and trains no further."""
    rest = end(tmp_path, signal.SIGKILL, "--seeds=1", "--students=2", "--config.epochs=30")
    assert "epoch 9/30" not in rest
    assert not (tmp_path / "study" / "seed_0" / ".lock").exists()
    assert list(tmp_path.glob("study/seed_0/checkpoints/epoch_*_step_*"))


@pytest.mark.slow
def test_stopped_and_gone_on_with(tmp_path):
    # Long enough to be stopped within.
    arguments = ("--seeds=1", "--students=2", "--config.epochs=30")
    rest = end(tmp_path, signal.SIGTERM, *arguments)
    assert rest.splitlines()[-1].endswith("ensemble; run the same command again to resume")
    assert not (tmp_path / "study" / "results.json").exists()

    done = start(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert "resuming after" in done.stdout
    results = read(tmp_path)
    assert [(run["method"], run["student"]) for run in results["runs"]] == [
        ("ensemble", 0),
        ("alone", 2),
    ]
    assert len({run["steps"] for run in results["runs"]}) == 1
    assert len(results["int8_bytes"]) == 2
    assert min(results["int8_bytes"].values()) > 1000
    check_metrics(tmp_path / "study", results["runs"])
    report = (tmp_path / "study" / "report.md").read_text()
    assert "one seed, from which nothing follows" in report

    # Nothing is trained twice; another recipe is refused before anything is.
    before = (tmp_path / "study" / "results.json").read_bytes()
    again = start(tmp_path, *arguments)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("done before") == 2
    assert "epoch" not in again.stdout
    assert (tmp_path / "study" / "results.json").read_bytes() == before
    other = start(tmp_path, *arguments, "--config.optimizer.learning_rate=0.1")
    assert other.returncode == 1
    assert "was made with config.optimizer.learning_rate=0.01, not 0.1. Use" in other.stderr


@pytest.mark.slow
def test_two_at_once_stopped_and_gone_on_with(tmp_path):
    arguments = ("--seeds=1", "--students=2", "--config.epochs=30", "--processes=2")
    process = subprocess.Popen(
        command(tmp_path, *arguments), cwd=tmp_path, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    begun, said = set(), []
    for line in process.stdout:
        said.append(line)
        if "] epoch 2/30" in line:
            begun.add(line.partition("]")[0])
        if len(begun) == 2:
            process.send_signal(signal.SIGTERM)
            break
    process.communicate(timeout=120)
    assert process.returncode == 143, "".join(said)
    done = start(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    # The student alone takes less time, and may have been through.
    assert done.stdout.count("resuming after") + done.stdout.count("is already finished") >= 1
    results = read(tmp_path)
    cores = len(os.sched_getaffinity(0))
    assert all(run["machine"]["cores"] <= (cores + 1) // 2 for run in results["runs"])
    # The ensemble may end last; its teacher is there to agree with all the same.
    assert all("agreement" in s for run in results["runs"] for s in run["students"])
    check_metrics(tmp_path / "study", results["runs"])


@pytest.mark.slow
def test_a_run_that_fails_costs_no_other(tmp_path):
    arguments = (
        "--config.epochs=1",
        "--seeds=1",
        "--students=2",
        "--ablation=bad:optimizer.learning_rate=1e30",
    )
    done = start(tmp_path, *arguments)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: 1 of ")
    assert "seed 0, bad" in done.stderr.splitlines()[-1]
    assert "FAILED, and left out: run 3 of 3: seed 0, bad: its error is above" in done.stdout
    results = read(tmp_path)
    assert [run["method"] for run in results["runs"]] == ["ensemble", "alone"]
    assert list(results["failed"]) == ["seed 0, bad"]
    assert "Runs that failed" in (tmp_path / "study" / "report.md").read_text()


def test_a_mistake_of_all_runs_ends_the_study_at_once(tmp_path):
    done = start(tmp_path, "--config.data.source=no_such_set", "--config.data.download=False")
    assert done.returncode == 1
    assert "run 1 of" in done.stdout
    assert "run 2 of" not in done.stdout
    first, *_, last = done.stderr.splitlines()
    assert first.startswith("error: config.data.source must be")
    assert last.startswith("error: run 1 of 9: seed 0, ensemble: its error is above")
    assert not (tmp_path / "study" / "results.json").exists()


@pytest.mark.slow
def test_all_methods(tmp_path):
    done = start(
        tmp_path,
        "--processes=2",
        "--config.epochs=2",
        "--seeds=2",
        "--offline=2",
        "--mutual=2",
        "--ablation=hot:loss.temperature=8",
        "--method=dml:temperature=3.0",
    )
    assert done.returncode == 0, done.stderr
    results = read(tmp_path)
    assert len(results["runs"]) == 2 * 7
    own = [run for run in results["runs"] if run["method"] in ("ensemble", "alone")]
    check_metrics(tmp_path / "study", own)
    # One network, however it was trained; two networks in all.
    assert len(results["int8_bytes"]) == 2
    seed_0 = {(r["method"], r["student"]): r for r in results["runs"] if r["seed"] == 0}
    pair = json.loads((tmp_path / "study" / "mutual_2" / "seed_0" / "summary.json").read_text())
    mutual = seed_0["mutual", 2]
    assert mutual["students"][0]["name"] == "student_2"
    assert mutual["students"][0]["accuracy"] == pytest.approx(
        pair["students"][1]["test_accuracy"], abs=1e-6
    )
    assert mutual["curves"].keys() == seed_0["offline", 2]["curves"].keys()
    report = (tmp_path / "study" / "report.md").read_text()
    for title in ("ensemble", "offline", "mutual", "hot", "Against what one would do otherwise"):
        assert f"\n## {title}\n" in report
    with (tmp_path / "study" / "methods.csv").open() as file:
        own, dml = csv.DictReader(file)
    assert dml["trained_by"] == "dml (deep mutual learning), temperature=3.0"
    assert own["seeds"] == dml["seeds"] == "0 1"
    assert float(dml["step_time_ratio"]) > 0
    assert dml["remark"] == ""


def _facts(results):
    """A study's runs without times, places and versions."""
    changing = ("train_seconds", "versions", "commit")
    return [{k: v for k, v in run.items() if k not in changing} for run in results["runs"]]


@pytest.mark.slow
def test_full_disk(tmp_path):
    """Each command gets a little further; the last, with room, ends as one that always had it."""
    arguments = ("--seeds=1", "--students=2", "--config.epochs=2")
    whole, small = tmp_path / "whole", tmp_path / "small"
    whole.mkdir()
    small.mkdir()
    done = start(whole, *arguments)
    assert done.returncode == 0, done.stderr
    run = whole / "study" / "seed_0"
    for name, said in (
        ("config.json", "config.json'"),
        ("checkpoints/epoch_00001/arrays.npz", "checkpoints must be writable"),
        ("ensemble.keras", "ensemble.keras'"),
        ("test_logits.npz", "test_logits.npz'"),
    ):
        limit = (run / name).stat().st_size - 1000
        done = subprocess.run(
            command(small, *arguments), cwd=small, capture_output=True, text=True, timeout=600,
            check=False, env=environment(),
            # No file may grow beyond this: the same calls fail as on a full disk.
            preexec_fn=lambda n=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)),
        )  # fmt: skip
        assert done.returncode == 1, (name, done.stdout, done.stderr)
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        assert lines, name
        assert all(line.startswith("error: ") for line in lines), lines
        assert said in lines[0]
        assert "Traceback" not in done.stdout
        assert not (small / "study" / "seed_0" / name).exists()
        assert not (small / "study" / "results.json").exists()
    done = start(small, *arguments)
    assert done.returncode == 0, done.stderr
    assert _facts(read(small)) == _facts(read(whole))
    assert not list((small / "study").rglob(".partial-*"))
