"""The pool that studies and exports start their processes with."""

import signal
import subprocess
import sys
import threading

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
