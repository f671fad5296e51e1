"""Two processes on 127.0.0.1 against one."""

import json
import signal
import socket
import subprocess
import time

import numpy as np
import pytest
import small_runs

pytestmark = pytest.mark.integration

# Without dropout, whose masks each host draws for its own rows.
ARGUMENTS = ("--config.epochs=3", "--config.backbone.arguments.dropout=0.0")


def tf_config(ports, index):
    workers = [f"127.0.0.1:{port}" for port in ports]
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": workers}, "task": task})


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start_workers(folder, *arguments, workdirs=("run", "run"), points=(("none", 0),) * 2):
    """Two running workers; what they print goes to worker_<i>.txt."""
    ports = free_ports(2)
    workers = []
    for index, (workdir, (point, count)) in enumerate(zip(workdirs, points, strict=True)):
        command = small_runs.command(
            folder, "--config.strategy=multi_worker", f"--workdir={folder / workdir}", *arguments,
            point=point, count=count,
        )  # fmt: skip
        with (folder / f"worker_{index}.txt").open("w") as output:
            process = subprocess.Popen(
                command, cwd=folder, stdout=output, stderr=subprocess.STDOUT,
                env=small_runs.environment(TF_CONFIG=tf_config(ports, index)),
            )  # fmt: skip
        workers.append(process)
    return workers


def said(folder, index):
    return (folder / f"worker_{index}.txt").read_text()


def wait(workers, seconds=200):
    try:
        return [worker.wait(seconds) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    done = small_runs.start(folder, *ARGUMENTS)
    assert done.returncode == 0, done.stderr
    return small_runs.left(folder)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    workers = start_workers(
        folder, *ARGUMENTS, workdirs=("run", "nowhere"), points=[("weights", 0)] * 2
    )
    assert wait(workers) == [0, 0], said(folder, 0) + said(folder, 1)
    return folder


def compare(first, second):
    """Summed in another order, rounding apart."""
    assert first[0].keys() == second[0].keys()
    for name in first[0]:
        np.testing.assert_allclose(second[0][name], first[0][name], atol=2e-4, err_msg=name)
    rows = [text.splitlines() for text in (first[1], second[1])]
    assert rows[0][0] == rows[1][0]
    for one, other in zip(rows[0][1:], rows[1][1:], strict=True):
        values = [[float(value) for value in row.split(",")] for row in (one, other)]
        np.testing.assert_allclose(values[1], values[0], rtol=2e-3, atol=2e-3)
    assert second[2]["replicas"] == 2


def test_the_same_run_as_in_one_process(alone, together):
    compare(alone, small_runs.left(together))


def test_both_end_with_the_same_weights(together):
    first, second = (
        small_runs.weights(together / f"of_worker_{i}" / "epoch_00001") for i in (0, 1)
    )
    assert len(first) > 50
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_the_chief_alone_speaks_and_writes(together):
    assert "epoch 3/3" in said(together, 0)
    assert "| student_2 |" in said(together, 0)
    assert said(together, 1) == f"training 'tiny' in {together / 'nowhere'}\n"
    assert not (together / "nowhere").exists()
    assert not any(path.name.startswith(".") for path in (together / "run").iterdir())


def test_workers_that_do_not_share_a_workdir(together):
    # The run of the fixture is finished for the chief, and unknown to the other.
    workers = start_workers(together, *ARGUMENTS, workdirs=("run", "nowhere"))
    assert wait(workers) == [1, 1]
    for index in (0, 1):
        assert "error: The workers disagree on finished, " in said(together, index)


@pytest.mark.slow
def test_a_worker_that_dies(alone, tmp_path):
    """Stopped by SIGTERM to one worker, then one is killed; the third start comes to the end."""
    workers = start_workers(tmp_path, *ARGUMENTS, points=[("step", 3), ("none", 0)])
    assert wait(workers) == [143, 143], said(tmp_path, 0) + said(tmp_path, 1)
    for index in (0, 1):
        assert "stopped by SIGTERM after epoch 0 and 3 of 8 steps" in said(tmp_path, index)

    workers = start_workers(tmp_path, *ARGUMENTS, points=[("none", 0), ("step_killed", 10)])
    start = time.monotonic()
    workers[1].wait(200)
    died = time.monotonic()
    codes = wait(workers, 60)
    print(f"killed after {died - start:.0f} s, noticed {time.monotonic() - died:.0f} s later")
    assert codes == [1, -signal.SIGKILL]
    assert "resuming after epoch 0 of 3 and 3 of 8 steps" in said(tmp_path, 0)
    (line,) = [line for line in said(tmp_path, 0).splitlines() if line.startswith("error: ")]
    assert line.startswith("error: Another worker is gone (")

    workers = start_workers(tmp_path, *ARGUMENTS)
    assert wait(workers) == [0, 0], said(tmp_path, 0) + said(tmp_path, 1)
    assert "resuming after epoch 1 of 3" in said(tmp_path, 0)
    compare(alone, small_runs.left(tmp_path))


def test_tf_config_that_breaks_its_rule(tmp_path):
    done = small_runs.start(tmp_path, "--config.strategy=multi_worker", TF_CONFIG="{}")
    assert done.returncode == 1
    assert "this machine: TF_CONFIG must be JSON like " in done.stderr
    assert "Received: '{}'" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_baseline(tmp_path):
    arguments = (*ARGUMENTS, "--config.only_student=2")
    folders = [tmp_path / "alone", tmp_path / "together"]
    for folder in folders:
        folder.mkdir()
    assert small_runs.start(folders[0], *arguments).returncode == 0
    assert wait(start_workers(folders[1], *arguments)) == [0, 0], said(folders[1], 0)
    newest = [
        small_runs.weights(folder / "run" / "baseline_student_2" / "checkpoints" / "epoch_00003")
        for folder in folders
    ]
    for name in newest[0]:
        np.testing.assert_allclose(newest[1][name], newest[0][name], atol=2e-4, err_msg=name)
