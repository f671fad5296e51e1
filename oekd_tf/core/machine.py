"""Provenance of results: commit, versions, processor and cores."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypedDict

import oekd_tf

_PACKAGES = ("tensorflow", "keras", "numpy")


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
