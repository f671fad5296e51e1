"""Locks on files, which the system releases when a process ends, however it ends.

A process's number does not tell whether it runs: another one, in another container or on another
host that shares the disk, may have the same.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Not on Windows.
    fcntl = None  # type: ignore[assignment]

_PAUSE_SECONDS = 0.02

# Paths that threads of this process hold.
_held = threading.local()


class LockedError(OSError):
    """Another process holds a lock.

    Attributes:
        owner: Number and host of that process, as far as they are known.
    """

    def __init__(self, message: str, owner: str):
        super().__init__(message)
        self.owner = owner


class FileLock:
    """An open file, locked unless another process has it.

    Args:
        path: Path of the file, which is made if need be; its folder must exist.

    Attributes:
        held: Whether this object has the lock; None where the file system has no locks.
        owner: Text in the file, which says who holds it.

    Example:
        >>> with FileLock(Path("run/.lock")) as lock:
        ...     print(lock.held)
    """

    def __init__(self, path: Path):
        self._path = path
        # Opened for writing, which network file systems lock by.
        self._file: IO[str] = path.open("a+")
        self.held: bool | None = None
        self.owner = ""
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.held = True
        except BlockingIOError:
            self.held = False
            self._file.seek(0)
            self.owner = self._file.read(200) or "another process"
        except OSError:
            self.held = None

    def __enter__(self) -> "FileLock":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def is_in_place(self) -> bool:
        """Whether the file at the path is still the one that is locked."""
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def sign(self) -> None:
        """Writes into the file who holds the lock."""
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}")
        self._file.flush()


@contextlib.contextmanager
def locked_file(path: str | Path, *, patience: float = 0.0, again: bool = False) -> Iterator[None]:
    """Holds the lock of a file while the block runs; the file is deleted after it.

    Where the file system has no locks, the block runs without.

    Args:
        path: Path of the file; its folder must exist.
        patience: Seconds to wait for another process to release it.
        again: Whether the thread that holds it already may lock it again.

    Raises:
        LockedError: Another process, or another thread of this one, holds it.
        OSError: The file cannot be written.

    Example:
        >>> with locked_file("savedmodels/.demo.lock"):
        ...     export()
    """
    path = Path(path)
    own = _held.__dict__.setdefault("paths", set())
    key = path.absolute()
    if again and key in own:
        yield
        return
    lock = _wait_for(path, patience)
    own.add(key)
    try:
        with lock:
            lock.sign()
            try:
                yield
            finally:
                # Before the lock is released, so that no other process opens the file in between.
                path.unlink(missing_ok=True)
    finally:
        own.discard(key)


def _wait_for(path: Path, patience: float) -> FileLock:
    end = time.monotonic() + patience
    while True:
        lock = FileLock(path)
        if lock.held is None:
            return lock
        # The holder before may have deleted the file between opening and locking.
        if lock.held and lock.is_in_place():
            return lock
        lock.__exit__()
        if lock.held:
            continue
        if time.monotonic() >= end:
            raise LockedError(f"{path} is locked by {lock.owner}", lock.owner)
        time.sleep(_PAUSE_SECONDS)
