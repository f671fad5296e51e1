"""A run's folder: whose it is, and that one process at a time writes to it."""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from oekd_tf.config import ConfigError

_LOCK = ".lock"


@contextlib.contextmanager
def held(workdir: str | Path) -> Iterator[None]:
    """Makes the folder and keeps other runs out of it while the block runs.

    The lock is the operating system's: it ends with the process, however that ends.

    Args:
        workdir: The run's folder.

    Raises:
        ConfigError: Another process holds it.
        OSError: It cannot be written to.

    Example:
        >>> with held("runs/demo"):
        ...     train()
    """
    workdir = Path(workdir)
    made = _make(workdir)
    path = workdir / _LOCK
    try:
        file = _locked(path)
        try:
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            yield
        finally:
            # Before the lock ends, so that nobody finds a file that is about to go.
            path.unlink(missing_ok=True)
            file.close()
    finally:
        # What was refused leaves nothing behind.
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _make(workdir: Path) -> list[Path]:
    missing = [folder for folder in (workdir, *workdir.parents) if not folder.exists()]
    workdir.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _locked(path: Path):
    while True:
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP):
                # A file system without locks: better an unlocked run than none.
                return file
            file.seek(0)
            owner = file.read() or "another process"
            file.close()
            raise ConfigError(
                f"--workdir must not be in use by another run. Received: {path.parent}, "
                f"in use by {owner}"
            ) from error
        # The one that held it may have deleted the file between opening and locking.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.truncate(0)
                return file
        file.close()
