"""Small runs that are started as a user starts them, and what they leave."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from oekd_tf import config as config_module

TESTS = Path(__file__).parent

# Two students with dropout, eight steps an epoch, the same bits on every run.
CONFIG = """
from oekd_tf.config import default_config


def get_config():
    config = default_config()
    config.name = "tiny"
    config.epochs = 6
    config.batch_size = 16
    config.deterministic = True
    config.data.max_examples = 128
    config.data.validation_fraction = 0.1
    config.backbone.name = "networks:PlainCnn"
    with config.backbone.unlocked():
        config.backbone.arguments = {"dropout": 0.2}
    config.ensemble.widths = (1.0, 0.5)
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.01
    config.optimizer.l2 = 1e-4
    config.schedule.name = "cosine"
    return config
"""


def environment(**variables):
    paths = f"{TESTS.parent}{os.pathsep}{TESTS}"
    return {**os.environ, "PYTHONPATH": paths, **variables}


def command(folder, *arguments, point="none", count=0):
    """A run's command line; its config file is written to the folder."""
    path = folder / "tiny.py"
    if not path.exists():
        path.write_text(CONFIG)
    script = [sys.executable, str(TESTS / "killed_run.py"), point, str(count)]
    return [*script, f"--config={path}", f"--workdir={folder / 'run'}", *arguments]


def start(folder, *arguments, point="none", count=0, **variables):
    """Runs to the end, or to where it is killed."""
    return subprocess.run(
        command(folder, *arguments, point=point, count=count), cwd=folder, capture_output=True,
        text=True, timeout=300, check=False, env=environment(**variables),
    )  # fmt: skip


def weights(path):
    """Every array of a checkpoint, optimizer included, by its place in it."""
    with np.load(Path(path) / "arrays.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def left(folder):
    """What a finished run is judged by: weights, metrics file, summary without the time it took."""
    run = folder / "run"
    summary = json.loads((run / "summary.json").read_text())
    assert summary.pop("train_seconds") > 0
    newest = max(path for path in (run / "checkpoints").iterdir() if path.name[0] != ".")
    return weights(newest), (run / "metrics.csv").read_text(), summary


def assert_same(first, second):
    """Bit for bit."""
    assert first[0].keys() == second[0].keys()
    for name in first[0]:
        np.testing.assert_array_equal(first[0][name], second[0][name], err_msg=name)
    assert first[1:] == second[1:]


def put(config, path, value):
    *parents, name = path.split(".")
    for parent in parents:
        config = config[parent]
    config[name] = value


def small_config(**changes):
    """Two students, four steps an epoch."""
    config = config_module.default_config()
    config.name = "small"
    config.epochs = 3
    config.batch_size = 32
    config.data.max_examples = 128
    config.data.validation_fraction = 0.02
    config.ensemble.widths = (1.0, 0.25)
    config.checkpoints_kept = 5
    for path, value in changes.items():
        put(config, path.replace("__", "."), value)
    return config
