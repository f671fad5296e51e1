"""Ctrl-C in a terminal: one line, exit code 130, nothing left over."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small_runs

from oekd_tf.cli.parts import device_flags

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _interrupts_arrive():
    """Where tests run in the background, Ctrl-C is ignored, and children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _interrupted(folder, command, after, number=signal.SIGINT):
    """What a process says on stderr that a signal hits after a line of output."""
    process = subprocess.Popen(
        command, cwd=folder, env=small_runs.environment(PYTHONUNBUFFERED="1"), text=True,
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        for line in process.stdout:
            if line.startswith(after):
                # The whole group is hit, workers too.
                os.killpg(process.pid, number)
                break
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 128 + number, said
    return [line for line in said.splitlines() if line.strip()]


def test_train_leaves_a_checkpoint(tmp_path):
    command = small_runs.command(tmp_path, "--config.epochs=200")
    (line,) = _interrupted(tmp_path, command, "epoch 2/200")
    assert line.startswith("stopped by Ctrl-C after epoch ")
    assert line.endswith("; run the same command again to resume from there")
    done = small_runs.start(tmp_path, "--config.epochs=200", point="step_ctrl_c", count=1)
    assert "resuming after epoch" in done.stdout


@pytest.mark.parametrize("module", ["oekd_tf", "oekd_tf.cli.train"])
@pytest.mark.parametrize("imported", ["oekd_tf.cli", "ml_collections"])
def test_while_modules_are_imported(tmp_path, module, imported):
    command = [sys.executable, "-X", "importtime", "-m", module]
    command += ["train"] * (module == "oekd_tf")
    process = subprocess.Popen(
        command, cwd=tmp_path, env=small_runs.environment(), text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    ours = []
    try:
        for line in process.stderr:
            if line.startswith("import time:"):
                if line.split()[-1] == imported:
                    process.send_signal(signal.SIGINT)
            else:
                ours.append(line)
        assert process.wait(30) == 130, ours
    finally:
        process.kill()
    assert ours == ["stopped by Ctrl-C\n"]


@pytest.mark.parametrize(
    ("line", "number"), [("training 'tiny' in ", signal.SIGINT), ("data: ", signal.SIGTERM)]
)
def test_train_before_the_first_step(tmp_path, line, number):
    """While TensorFlow is imported, and while the network is built."""
    small_runs.command(tmp_path)
    command = [
        sys.executable, "-m", "oekd_tf", "train", f"--config={tmp_path / 'tiny.py'}",
        f"--workdir={tmp_path / 'run'}",
    ]  # fmt: skip
    (said,) = _interrupted(tmp_path, command, line, number)
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    assert said in (f"stopped by {name}", f"stopped by {name} before the first step")


SWALLOWED = """
import ctypes, sys, time
from oekd_tf.core import signals

signals._PATIENCE_SECONDS = 0.2

class Swallowing:
    def __del__(self):
        print("now", flush=True)
        time.sleep(30)

with signals.one_line_on_signals():
    if sys.argv[1] == "callback":
        Swallowing()
    if sys.argv[1] == "native":
        ctypes.pythonapi.PyRun_SimpleString(b"print('now', flush=True); time.sleep(30)")
    try:
        print("now", flush=True)
        time.sleep(30)
    except BaseException:
        pass
    time.sleep(30)
"""


@pytest.mark.parametrize("where", ["callback", "library", "native"])
def test_what_a_library_swallows_comes_again(tmp_path, where):
    command = [sys.executable, "-c", SWALLOWED, where]
    start = time.monotonic()
    assert _interrupted(tmp_path, command, "now") == ["stopped by Ctrl-C"]
    assert time.monotonic() - start < 10


@pytest.mark.slow
def test_compare(tmp_path):
    small_runs.command(tmp_path)
    command = [
        sys.executable, "-m", "oekd_tf", "compare", f"--config={tmp_path / 'tiny.py'}",
        f"--workdir={tmp_path / 'study'}", "--seeds=1", "--config.epochs=200",
    ]  # fmt: skip
    *_, line = _interrupted(tmp_path, command, "epoch 2/200")
    assert line == "stopped in run 1 of 3: seed 0, ensemble; run the same command again to resume"


@pytest.mark.slow
@pytest.mark.parametrize("processes", [0, 1])
def test_export(tmp_path, processes):
    done = small_runs.start(tmp_path, "--config.epochs=1")
    assert done.returncode == 0, done.stderr
    command = [
        sys.executable, "-m", "oekd_tf", "export", f"--workdir={tmp_path / 'run'}",
        f"--output={tmp_path / 'exports' / 'one'}", "--formats=float32,float16,int8,int16x8",
        f"--set=export.processes={processes}",
    ]  # fmt: skip
    assert _interrupted(tmp_path, command, "exporting to") == ["stopped by Ctrl-C"]
    assert not list(tmp_path.glob("exports/*"))


@pytest.mark.slow
def test_bench(tmp_path):
    shutil.copytree(ROOT / "tests" / "written_by_0_1" / "export", tmp_path / "export")
    command = [
        sys.executable, "-u", "-m", "oekd_tf", "bench", f"--exports={tmp_path / 'export'}",
        "--runs=1000000",
    ]  # fmt: skip
    assert _interrupted(tmp_path, command, "") == ["stopped by Ctrl-C"]


def test_commands_without_absl(capsys):
    def main(flags):
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as stop:
            device_flags.run(device_flags.Parser("any", "Any."), main, [])
    finally:
        signal.signal(signal.SIGINT, before)
    assert stop.value.code == 130
    assert capsys.readouterr().err == "stopped by Ctrl-C\n"


def test_other_programs_keep_their_signals(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "__init__.py").write_text("import oekd_tf\n")
    (tmp_path / "other" / "__main__.py").write_text(
        "import signal\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "other"], cwd=tmp_path, env=small_runs.environment(), check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
