"""The benchmark for a GPU, at its tiny size on the CPU."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


def run(tmp_path, script, *arguments):
    environment = {
        **os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), *arguments], env=environment,
        capture_output=True, text=True, timeout=500, check=False, cwd=tmp_path,
    )  # fmt: skip


def lines_of(tmp_path, *arguments):
    """What the script measured at its tiny size, and its table."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed")
    done = run(tmp_path, "gpu.py", "--tiny", "--output=results", *arguments)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob(".jax_cache_*"))
    results = tmp_path / "results"
    return json.loads((results / "results.json").read_text()), (results / "results.md").read_text()


@pytest.mark.slow
def test_speed_leaves_a_table(tmp_path):
    lines, table = lines_of(tmp_path, "--part=torch", "--part=jax", "--seconds=400")
    speeds = [line for line in lines if line["part"] == "throughput" and line["framework"] == "JAX"]
    assert {line["way"] for line in speeds} == {"loop of steps", "step by step"}
    assert all(line["images_per_second"] > 0 for line in speeds)
    failed = [line["error"] for line in lines if line["part"] == "failed"]
    if importlib.util.find_spec("torch") is None:
        assert failed == ["ModuleNotFoundError: No module named 'torch'"]
    else:
        assert not failed
    assert "| JAX " in table
    assert (tmp_path / "results" / "jax_cache.zip").stat().st_size > 1000


@pytest.mark.slow
def test_training_leaves_a_table(tmp_path):
    lines, table = lines_of(
        tmp_path, "--part=train", "--seconds=500", "--epochs=25", "--seeds=2", "--alone=1,2",
        "--learning_rate=0.02", "--train_concurrent=yes",
    )  # fmt: skip
    trained = [line for line in lines if line["part"] == "training"]
    runs = ["oekd", "student 1 alone", "student 2 alone"]
    assert [(line["run"], line["seed"]) for line in trained] == [
        (run, seed) for seed in (0, 1) for run in runs
    ]
    # Four classes that differ by their brightness.
    assert all(max(line["test"].values()) > 0.7 for line in trained)
    first, second = trained[0]["test"], trained[3]["test"]
    assert first.keys() == {"student_1_accuracy", "student_2_accuracy", "teacher_accuracy"}
    assert first.keys() == second.keys()
    assert "| student 1 alone |" in table
    assert "| oekd   | student 2 |     2 |" in table


def test_kept_table_is_of_the_measurements(tmp_path):
    path = ROOT / "benchmarks" / "gpu_results.py"
    spec = importlib.util.spec_from_file_location("gpu_results", path)
    gpu_results = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gpu_results)
    kept = gpu_results.Results(tmp_path)
    kept.lines = json.loads((ROOT / "docs" / "gpu" / "results.json").read_text())
    assert kept.markdown() == (ROOT / "docs" / "gpu" / "results.md").read_text()


def test_time_that_is_over(tmp_path):
    done = run(tmp_path, "gpu.py", "--tiny", "--part=jax", "--seconds=6", "--output=results")
    assert done.returncode == 0, done.stderr
    lines = json.loads((tmp_path / "results" / "results.json").read_text())
    assert lines[-1]["part"] == "failed"
    assert "stopped after 6 s" in lines[-1]["error"]


def test_pytorch_has_the_losses_of_the_ensemble(tmp_path):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    done = run(
        tmp_path, "gpu_torch.py", "--check", "--depth=8", "--image_size=16",
        "--widths=1.0,0.6,0.2", "--classes=10",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["largest_relative_difference"] < 1e-3
