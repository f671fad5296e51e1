"""Pipes, sockets and devices where files must be: one line, and no wait for their other end."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import small_runs
from PIL import Image

from oekd_tf.core.errors import ConfigError
from oekd_tf.core.regular import IrregularFileError, irregular_kind, regular
from oekd_tf.data.folder import list_folder
from oekd_tf.data.npz import load_arrays
from oekd_tf.data.survey import survey
from oekd_tf.device.pictures import image_files, pictures_below, read_image

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pipe(tmp_path):
    path = tmp_path / "pipe.png"
    os.mkfifo(path)
    return path


def test_kinds(tmp_path, pipe):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
        assert irregular_kind(tmp_path / "socket") == "a socket"
    assert irregular_kind(pipe) == "a named pipe"
    assert irregular_kind("/dev/zero") == "a device"
    assert irregular_kind(tmp_path) == irregular_kind(tmp_path / "none") == ""
    assert regular(tmp_path / "none") == tmp_path / "none"
    with pytest.raises(IrregularFileError) as error:
        regular(pipe)
    assert str(error.value) == f"A file must be a regular one. Received: {pipe}, a named pipe"


def test_pictures(tmp_path, pipe):
    (tmp_path / "a").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "a" / "1.png")
    os.mkfifo(tmp_path / "a" / "2.png")
    os.symlink("/dev/zero", tmp_path / "a" / "3.png")
    os.symlink("nowhere", tmp_path / "a" / "4.png")
    files, others = pictures_below(tmp_path / "a")
    # A broken link is named where it is read.
    assert [file.name for file in files] == ["1.png", "4.png"]
    assert others == {"pipe, socket or device": 2}
    assert list_folder(tmp_path).left_out == {"pipe, socket or device": 2}
    (facts,) = survey([os.fsencode(pipe)])
    assert facts.problem == "it is a named pipe"
    for path in (pipe, Path("/dev/zero")):
        assert image_files(path)[0] == [path]
        with pytest.raises(ValueError, match="An image must be a regular file"):
            read_image(path, (4, 4, 1))


def test_arrays(pipe):
    with pytest.raises(ConfigError, match="a named pipe"):
        load_arrays(pipe)
    with pytest.raises(ConfigError, match="a device"):
        load_arrays("/dev/zero")


@pytest.mark.integration
@pytest.mark.parametrize("given", ["/dev/zero", "pipe.png"])
def test_commands(tmp_path, pipe, given):
    export = tmp_path / "export"
    shutil.copytree(ROOT / "tests" / "written_by_0_1" / "export", export)
    model = next(export.glob("*/int8.tflite"))
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / "one.png")
    for words in (
        ["classify", f"--model={model}", given],
        ["classify", f"--model={model}", f"--labels={given}", "one.png"],
        ["classify", f"--model={given}", "one.png"],
        ["bench", f"--exports={export}", f"--merge={given}"],
        ["train", f"--config={given}"],
    ):
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "oekd_tf", *words], cwd=tmp_path, capture_output=True,
            text=True, timeout=60, check=False, env=small_runs.environment(),
        )  # fmt: skip
        (line,) = [line for line in done.stderr.splitlines() if "How pictures became" not in line]
        assert done.returncode == 1, line
        assert line.startswith("error: ")
        assert given in line
        assert time.monotonic() - start < 30
