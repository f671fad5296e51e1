"""Provenance of results: commit, versions, processor and cores."""

import datetime
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypedDict

import oekd_tf

_PACKAGES = ("tensorflow", "keras", "numpy")

# Files of limit and use of a container's memory, of both versions of control groups.
_CONTAINER_MEMORY = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


class Machine(TypedDict):
    """A processor, and the number of its cores that this process may use."""

    processor: str
    cores: int


def machine() -> Machine:
    """The processor, and the number of its cores that this process may use."""
    return {"processor": processor(), "cores": available_cores()}


def processor() -> str:
    """Name of the board or the processor."""
    board = Path("/proc/device-tree/model")
    if board.exists():
        return board.read_text().rstrip("\0")
    information = Path("/proc/cpuinfo")
    for line in information.read_text().splitlines() if information.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def available_cores() -> int:
    """Number of cores that this process may use."""
    return len(core_numbers())


def core_numbers() -> list[int]:
    """Numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def available_memory() -> int | None:
    """Bytes of memory that can still be taken, in this container too; None if it is not known."""
    found = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(1024 * int(line.split()[1]))
    except (OSError, ValueError, IndexError):
        pass
    for limit, used in _CONTAINER_MEMORY:
        try:
            found.append(max(0, int(Path(limit).read_text()) - _unreclaimable(Path(used))))
        except (OSError, ValueError):
            # There is none, or it is "max".
            continue
    return min(found, default=None)


def _unreclaimable(used: Path) -> int:
    """Bytes that a container uses, apart from files that the system can forget."""
    cached = 0
    for line in used.with_name("memory.stat").read_text().splitlines():
        name, _, count = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            cached = int(count)
    return int(used.read_text()) - cached


def versions() -> dict[str, str]:
    """Versions of Python, this package, what it computes with, and Keras's backend if loaded."""
    found = {"oekd_tf": oekd_tf.__version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    if keras := sys.modules.get("keras"):
        found["backend"] = keras.backend.backend()
    return {**found, "python": platform.python_version()}


def commit() -> str | None:
    """The git commit of the package's code.

    Returns:
        The commit, with "+changes" if files differ from it; None if the code is in no repository,
        for instance because it was installed.
    """
    folder = Path(oekd_tf.__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # An installed package may lie within somebody else's repository.
        git("ls-files", "--error-unmatch", "__init__.py")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def utc_time() -> str:
    """The time for records: UTC, to the second, in ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
