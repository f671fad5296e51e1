"""Output that is closed, full, or read by nobody, of real commands."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import small_runs

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.integration

FULL = "error: the output must be writable. Received: [Errno 28] No space left on device\n"
COMMANDS = {
    "help": ["--help"],
    "version": ["--version"],
    "a command's help": ["pick", "--help"],
    "help of absl": ["train", "--helpfields"],
    "pick": ["pick", "--exports=export", "--overwrite"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams")
    shutil.copytree(ROOT / "tests" / "written_by_0_1" / "export", folder / "export")
    return folder


def _ended(folder, words, redirected, unbuffered=""):
    """Exit code and error stream of a command whose streams a shell redirects."""
    done = subprocess.run(
        ["bash", "-c", f'"$@" {redirected}; exit ${{PIPESTATUS[0]}}', "sh", sys.executable, "-m",
         "oekd_tf", *words],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        env=small_runs.environment(PYTHONUNBUFFERED=unbuffered),
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_full_disk(folder, words):
    assert _ended(folder, words, "> /dev/full") == (1, FULL)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("name", ["help of absl", "pick"])
def test_a_pipe_that_nobody_reads(folder, name, unbuffered):
    assert _ended(folder, COMMANDS[name], "| true", unbuffered) == (141, "")
    assert _ended(folder, COMMANDS[name], "2>&1 | true", unbuffered) == (141, "")


@pytest.mark.parametrize("redirected", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(folder, redirected):
    assert _ended(folder, COMMANDS["pick"], redirected) == (0, "")
    assert _ended(folder, ["pick", "--exports=nowhere"], redirected)[0] == 1


def test_closed_streams_are_not_taken_by_files(folder):
    command = (
        "import os\nfrom oekd_tf.core.streams import guarded\nwith guarded():\n"
        "    one = open('one', 'w')\n    assert one.fileno() > 2\n    print('nothing')"
    )
    done = subprocess.run(
        ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", sys.executable, "-c", command], cwd=folder,
        check=False, env=small_runs.environment(),
    )  # fmt: skip
    assert done.returncode == 0
    assert (folder / "one").read_text() == ""


def test_training_keeps_its_work(tmp_path):
    read, write = os.pipe()
    with (tmp_path / "errors.txt").open("w") as errors:
        run = subprocess.Popen(
            small_runs.command(tmp_path, "--config.epochs=500"), stdout=write, stderr=errors,
            cwd=tmp_path, env=small_runs.environment(),
        )  # fmt: skip
    os.close(write)
    try:
        with os.fdopen(read) as output:
            assert any(line.startswith("epoch 1/500") for line in output)
        assert run.wait(120) == 141
    finally:
        run.kill()
    (line,) = (tmp_path / "errors.txt").read_text().splitlines()
    assert line.startswith("stopped by a closed pipe of its output after epoch ")
    assert line.endswith("; run the same command again to resume from there")
    assert any((tmp_path / "run" / "checkpoints").iterdir())
