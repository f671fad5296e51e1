"""A run that is killed and started again ends as one that never was."""

import random
import signal
import subprocess
import time

import pytest
import small_runs

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    done = small_runs.start(folder)
    assert done.returncode == 0, done.stderr
    return small_runs.left(folder)


def test_a_kill_and_a_stop(uninterrupted, tmp_path):
    done = small_runs.start(tmp_path, point="within_the_checkpoint", count=2)
    assert done.returncode == -signal.SIGKILL, done.stderr
    done = small_runs.start(tmp_path, point="step", count=3)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    done = small_runs.start(tmp_path)
    assert "resuming after epoch 1 of 6 and 3 of 8 steps" in done.stdout
    small_runs.assert_same(small_runs.left(tmp_path), uninterrupted)


@pytest.mark.slow
def test_kills_and_stops_at_chosen_points(uninterrupted, tmp_path):
    def stopped(point, count, code, said=""):
        done = small_runs.start(tmp_path, point=point, count=count)
        assert done.returncode == code, (point, done.stdout, done.stderr)
        assert said in done.stderr, point
        return done.stdout

    kill, terminate = -signal.SIGKILL, 128 + signal.SIGTERM
    ctrl_c = 128 + signal.SIGINT
    checkpoints = tmp_path / "run" / "checkpoints"
    stopped("within_the_checkpoint", 2, kill)
    names = {path.name for path in checkpoints.iterdir()}
    assert "epoch_00001" in names
    assert "epoch_00002" not in names
    assert any(name.startswith(".partial") for name in names)

    # In the second epoch's third step.
    said = stopped("step", 3, terminate, "stopped by SIGTERM after epoch 1 and 3 of 8 steps")
    assert "resuming after epoch 1 of 6" in said
    names = {path.name for path in checkpoints.iterdir()}
    assert names == {"epoch_00001", "epoch_00001_step_0000003"}

    said = stopped("validation", 1, terminate, "stopped by SIGTERM after epoch 1 and 8 of 8 steps")
    assert "resuming after epoch 1 of 6 and 3 of 8 steps" in said
    # The first passing is the end of the epoch's validation.
    stopped("step_ctrl_c", 2, ctrl_c, "stopped by Ctrl-C after epoch 2 and 2 of 8 steps; run the")
    before = {path.name for path in checkpoints.iterdir()}
    stopped("step_ctrl_c_twice", 2, ctrl_c, "stopped at once by a second Ctrl-C; run the same")
    assert {path.name for path in checkpoints.iterdir()} == before
    stopped("before_the_checkpoint", 1, kill)
    # The line of epoch 3 was written, its checkpoint was not: the line is written again.
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 4
    stopped("epoch_end", 1, terminate, "stopped by SIGTERM after epoch 3; run the same command")
    stopped("before_old_checkpoints_go", 1, kill)
    said = stopped("none", 0, 0)
    assert "resuming after epoch 4 of 6" in said
    small_runs.assert_same(small_runs.left(tmp_path), uninterrupted)
    assert not any(path.name[0] == "." for path in checkpoints.iterdir())


@pytest.mark.slow
def test_full_disk(uninterrupted, tmp_path):
    size = next((tmp_path.parent).glob("uninterrupted*/run/checkpoints/*/arrays.npz"))
    done = small_runs.start(tmp_path, point="full_disk", count=size.stat().st_size // 2)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "checkpoints must be writable. Received: " in line
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
    assert small_runs.start(tmp_path).returncode == 0
    small_runs.assert_same(small_runs.left(tmp_path), uninterrupted)


@pytest.mark.slow
def test_full_disk_in_tensorboards_files(uninterrupted, tmp_path):
    # They grow with each epoch, and are here the first to be longer than this.
    arguments = ("--config.checkpoint_every=6",)
    done = small_runs.start(tmp_path, *arguments, point="full_disk", count=5000)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert line.startswith(f"error: {tmp_path / 'run' / 'tensorboard'} must be writable. Received")
    assert line.endswith("; File too large")
    assert not (tmp_path / "run" / "summary.json").exists()
    done = small_runs.start(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    small_runs.assert_same(small_runs.left(tmp_path), uninterrupted)


@pytest.mark.slow
def test_damaged_checkpoints(uninterrupted, tmp_path):
    # Stopped with the checkpoints of epochs 3 and 4, the newer of which is then damaged.
    assert small_runs.start(tmp_path, point="epoch_end", count=4).returncode == 143
    newest = tmp_path / "run" / "checkpoints" / "epoch_00004"
    weights = newest / "arrays.npz"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    done = small_runs.start(tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"checkpoint {newest} is damaged (arrays.npz has other content" in done.stdout
    assert "resuming after epoch 3 of 6" in done.stdout
    small_runs.assert_same(small_runs.left(tmp_path), uninterrupted)


@pytest.mark.slow
def test_a_workdir_in_use(tmp_path):
    command = small_runs.command(tmp_path, "--config.epochs=1000")
    first = subprocess.Popen(
        command, cwd=tmp_path, env=small_runs.environment(), stdout=subprocess.PIPE
    )
    try:
        while b"epoch 1/" not in first.stdout.readline():
            assert first.poll() is None
        second = small_runs.start(tmp_path, "--config.epochs=1000")
        assert second.returncode == 1
        assert "error: --workdir must not be in use by another run. Received: " in second.stderr
        assert f"in use by process {first.pid} on " in second.stderr
        first.send_signal(signal.SIGTERM)
        assert first.wait(60) == 143
        assert not (tmp_path / "run" / ".lock").exists()
    finally:
        first.kill()
        first.stdout.close()


@pytest.mark.slow
def test_twenty_kills_at_random(uninterrupted, tmp_path):
    seconds = random.Random(0)
    kills = 0
    while kills < 20:
        process = subprocess.Popen(
            small_runs.command(tmp_path), cwd=tmp_path, env=small_runs.environment(),
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        # Not before training starts: most of a start is TensorFlow's import.
        while process.poll() is None and "tracing" not in process.stdout.readline():
            pass
        time.sleep(seconds.uniform(0, 6 if kills % 4 else 1))
        if process.poll() is not None:
            # It came to its end: the next begins anew.
            assert process.returncode == 0
            small_runs.assert_same(small_runs.left(tmp_path), uninterrupted)
            (tmp_path / "run").rename(tmp_path / f"finished_{kills}")
        process.send_signal(seconds.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
        process.wait()
        kills += process.returncode != 0
        process.stdout.close()
    assert small_runs.start(tmp_path).returncode == 0
    small_runs.assert_same(small_runs.left(tmp_path), uninterrupted)
