"""Runs are resumed bit for bit with all that methods keep: averages, weights, projections."""

import signal

import pytest
import small_runs

# Within an epoch `check_method` resumes every method; here are whole runs.
pytestmark = [pytest.mark.integration, pytest.mark.slow]

METHODS = {
    # Weights from validation after each epoch, averages of all weights, a projection.
    "oekd": {
        "teacher_weights": "validation", "ema_decay": 0.9, "features": "projected",
        "distillation_schedule": "sigmoid",
    },
    # Mean teachers that are trained before the first step, an augmentation for each student.
    "dkel": {},
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_stopped_within_an_epoch_and_killed_after_it(method, tmp_path):
    arguments = [f"--config.method.name={method}", "--config.epochs=2"]
    arguments += [f"--config.method.arguments.{n}={v}" for n, v in METHODS[method].items()]
    runs = {}
    for name, points in (
        ("uninterrupted", [("none", 0, 0)]),
        (
            "stopped",
            [("step", 11, 128 + signal.SIGTERM), ("before_the_checkpoint", 1, -signal.SIGKILL),
             ("none", 0, 0)],
        ),
    ):  # fmt: skip
        folder = tmp_path / name
        folder.mkdir()
        for point, count, code in points:
            done = small_runs.start(folder, *arguments, point=point, count=count)
            assert done.returncode == code, (point, done.stdout, done.stderr)
        runs[name] = small_runs.left(folder)
    small_runs.assert_same(runs["stopped"], runs["uninterrupted"])
