"""The pool that studies and exports start their processes with."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from oekd_tf.core.processes import PoolStoppedError, ProcessPool


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that says where it was found, and then waits for its input to end."""
    (tmp_path / "waiting.py").write_text(
        "import os, sys; print(os.environ['MARK'], *sys.argv[1:], flush=True); sys.stdin.read()"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return "waiting"


def start(pool, module):
    return pool.start(
        module, "a", "b", variables={"MARK": "here"}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def test_a_module_of_this_import_path_with_other_variables(module):
    pool = ProcessPool()
    process = start(pool, module)
    assert process.stdout.readline() == "here a b\n"
    process.stdin.close()
    assert pool.wait(process) == 0


def test_stop_ends_all_and_lets_no_other_begin(module):
    pool = ProcessPool()
    processes = [start(pool, module) for _ in range(3)]
    for process in processes:
        process.stdout.readline()
    threading.Thread(target=pool.stop).start()
    assert [pool.wait(process) for process in processes] == [-signal.SIGTERM] * 3
    assert pool.stopped
    with pytest.raises(PoolStoppedError, match="waiting was not begun"):
        start(pool, module)


def test_kill(module):
    pool = ProcessPool()
    process = start(pool, module)
    pool.kill(process)
    assert process.returncode == -signal.SIGKILL
    # What has ended is not ended again.
    pool.kill(process)
    pool.stop()


PARENT = """
import subprocess, sys
from oekd_tf.core.processes import ProcessPool
pool = ProcessPool()
processes = [pool.start("orphan", stdout=subprocess.PIPE, text=True) for _ in range(2)]
numbers = [process.stdout.readline().strip() for process in processes]
print(*numbers, flush=True)
processes[0].wait()
"""

ORPHAN = """
import os, signal, sys, time
from pathlib import Path
from oekd_tf.core.processes import end_with_parent
end_with_parent()
def end(number, _):
    Path(f"{os.getpid()}.ended").write_text(str(number))
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
print(os.getpid(), flush=True)
time.sleep(60)
"""


@pytest.mark.integration
def test_workers_end_with_a_killed_parent(tmp_path):
    """They would train on unseen, and hold the locks of their folders."""
    (tmp_path / "orphan.py").write_text(ORPHAN)
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    numbers = parent.stdout.readline().split()
    assert len(numbers) == 2
    parent.kill()
    parent.wait()
    marks = [tmp_path / f"{number}.ended" for number in numbers]
    for _ in range(200):
        if all(mark.exists() and mark.read_text() for mark in marks):
            break
        time.sleep(0.05)
    assert [mark.read_text() for mark in marks] == [str(int(signal.SIGTERM))] * 2
