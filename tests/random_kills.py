"""SIGKILL at random moments of a command, as by a system that is out of memory."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import small_runs

from oekd_tf.device.exported import exported_files, read_export, verified_path


def oekd(*arguments):
    """A command line of this package."""
    return [sys.executable, "-u", "-m", "oekd_tf", *map(str, arguments)]


def run(folder, command, **variables):
    """Runs a command to its end."""
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=600, check=False,
        env=small_runs.environment(**variables),
    )  # fmt: skip


def kill(folder, command, after, seconds):
    """Starts a command and kills it; returns whether it had come to its end.

    Args:
        folder: Where it runs.
        command: The command.
        after: Start of the line of output from which on the time counts, since most of a start is
            imports; "" for none.
        seconds: When to kill it.
    """
    process = subprocess.Popen(
        command, cwd=folder, env=small_runs.environment(), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said = []
    while after and process.poll() is None:
        said.append(process.stdout.readline())
        if said[-1].startswith(after):
            break
    time.sleep(seconds)
    # The process alone: its workers must notice.
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert process.returncode in (0, -signal.SIGKILL), "".join(said)
    assert none_left(process.pid), f"a worker of {command} outlives it"
    return process.returncode == 0


def none_left(group, seconds=30):
    """Whether all processes of a group end by themselves."""
    for _ in range(10 * seconds):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    return False


def digests(folder):
    """SHA-256 of every file below a folder, by its path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def assert_whole_export(folder):
    """That an export's manifest reads, and that every file is the one it names."""
    manifest = read_export(folder)
    for file in exported_files(manifest):
        verified_path(folder, file)
    # What a killed command was writing beside them has a name of its own.
    names = {p.name for p in Path(folder).iterdir() if not p.name.startswith(".partial-")}
    students = {student["name"] for student in manifest["students"]}
    assert names - {"trade_off.png"} == {"manifest.json", *students}
    picture = Path(folder) / "trade_off.png"
    assert not picture.exists() or picture.read_bytes().endswith(b"IEND\xaeB`\x82")
    json.dumps(manifest, allow_nan=False)
    return manifest
