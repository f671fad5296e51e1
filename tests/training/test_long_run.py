"""Five hundred epochs: memory and step time stay flat."""

import json
import subprocess
import sys

import numpy as np
import pytest
import small_runs

# One epoch a line: its number, when it ended, resident bytes, traces of the step so far.
SCRIPT = """
import json, time
import psutil
from oekd_tf.cli.parts.flags import quiet_tensorflow
quiet_tensorflow()
from oekd_tf.cli import train
from oekd_tf.training.callbacks import MetricsCsv
from oekd_tf.models.online_ensemble import OnlineEnsemble

rows = []
traces = 0
step = OnlineEnsemble.train_step

def train_step(self, *arguments):
    # Python runs it only when the step is traced.
    global traces
    traces += 1
    return step(self, *arguments)

OnlineEnsemble.train_step = train_step
original = MetricsCsv.on_epoch_end

def on_epoch_end(self, epoch, logs=None):
    original(self, epoch, logs)
    rows.append((time.monotonic(), psutil.Process().memory_info().rss, traces))

MetricsCsv.on_epoch_end = on_epoch_end
try:
    train.main()
finally:
    with open("rows.json", "w") as file:
        json.dump(rows, file)
"""


@pytest.mark.slow
def test_memory_and_steps_stay_flat(tmp_path):
    (tmp_path / "tiny.py").write_text(small_runs.CONFIG)
    done = subprocess.run(
        [
            sys.executable, "-c", SCRIPT, f"--config={tmp_path / 'tiny.py'}",
            f"--workdir={tmp_path / 'run'}", "--config.epochs=500",
        ],
        cwd=tmp_path, env=small_runs.environment(), capture_output=True, text=True, timeout=1200,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ends, memory, traces = np.array(json.loads((tmp_path / "rows.json").read_text())).T
    assert len(ends) == 500
    assert set(traces) == {traces[0]}
    growth = memory[-50:].mean() / memory[10:20].mean()
    seconds = np.diff(ends)
    slowdown = np.median(seconds[-100:]) / np.median(seconds[10:110])
    print(
        f"resident {memory[10] / 2**20:.0f} MiB, grown {growth:.3f} times; "
        f"an epoch {np.median(seconds):.3f} s, {slowdown:.3f} times as long at the end; "
        f"{int(traces[0])} traces"
    )
    assert growth < 1.05
    # The machine does other work; a leak of time would be far more.
    assert slowdown < 1.3
