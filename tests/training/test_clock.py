"""A clock that is turned back changes no result: neither times nor order come from it."""

import json
import os
import re
import subprocess
import sys
import time

import backwards_clock
import pytest
import small_runs
from random_kills import assert_whole_export, oekd, run

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def clock(tmp_path_factory):
    """Variables of a process, by how many hours its clock is late when it starts."""
    folder = tmp_path_factory.mktemp("clock")
    program = "import time; print(time.time())"
    done = subprocess.run(
        [sys.executable, "-c", program], env=small_runs.environment(
            **backwards_clock.environment(folder, hours=1000)
        ), capture_output=True, text=True, check=True,
    )  # fmt: skip
    if float(done.stdout) > time.time() - 3_000_000:
        pytest.skip("programs of this system do not ask the library for the time")
    return lambda hours=0: backwards_clock.environment(folder, hours)


def test_train_resume_export_and_bench(clock, tmp_path):
    steady = tmp_path / "steady"
    steady.mkdir()
    assert small_runs.start(steady).returncode == 0

    done = small_runs.start(tmp_path, point="epoch_end", count=3, **clock())
    assert done.returncode == 143, done.stderr
    checkpoints = tmp_path / "run" / "checkpoints"
    before = sorted(checkpoints.iterdir())
    assert [path.name for path in before] == ["epoch_00002", "epoch_00003"]
    # The newest looks oldest, as where the clock was turned back between them.
    for hours, path in enumerate(before):
        for file in (*path.iterdir(), path):
            os.utime(file, (1e9 - 3600 * hours,) * 2)
    said = done.stdout
    done = small_runs.start(tmp_path, **clock(hours=48))
    assert done.returncode == 0, done.stderr
    assert "resuming after epoch 3 of 6" in done.stdout
    said += done.stdout
    assert not re.search(r"-\d+(\.\d+)? s\b", said), said
    small_runs.assert_same(small_runs.left(tmp_path), small_runs.left(steady))
    states = [json.loads((p / "checkpoint.json").read_text()) for p in checkpoints.iterdir()]
    seconds = [s["seconds"] for s in sorted(states, key=lambda state: state["epochs"])]
    assert 0 < seconds[0] < seconds[1] < 300

    output = tmp_path / "export"
    for hours in (72, 96):
        done = run(
            tmp_path,
            oekd("export", f"--workdir={tmp_path / 'run'}", f"--output={output}", "--overwrite",
                 "--formats=float32,int8", "--set=export.max_accuracy_drop=1",
                 "--set=export.max_class_drop=1"),
            **clock(hours=hours),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert_whole_export(output)
    for hours in (120, 144):
        bench = oekd("bench", f"--exports={output}", "--device=late", "--threads=1", "--runs=20")
        done = run(tmp_path, bench, **clock(hours=hours))
        assert done.returncode == 0, done.stderr
    (device,) = assert_whole_export(output)["devices"].values()
    times = [found["threads"]["1"] for found in device["results"].values()]
    assert all(0 < t["median_ms"] <= t["p90_ms"] < 1000 for t in times)
