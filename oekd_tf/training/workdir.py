"""A run's folder: whose it is, and that one process at a time writes to it."""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from oekd_tf import config as config_module
from oekd_tf.config.difference import refuse_other_config
from oekd_tf.core.errors import ConfigError

_FILE_NAME = ".lock"


@contextlib.contextmanager
def locked(workdir: str | Path) -> Iterator[None]:
    """Makes the folder and keeps other runs out of it while the block runs.

    The lock is the operating system's: it ends with the process, however that ends.

    Args:
        workdir: The run's folder.

    Raises:
        ConfigError: Another process holds it.
        OSError: It cannot be written to.

    Example:
        >>> with locked("runs/demo"):
        ...     train()
    """
    workdir = Path(workdir)
    made = _make(workdir)
    path = workdir / _FILE_NAME
    try:
        file = _lock(path)
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


def run_folder(workdir: str | Path, only_student: int = 0, *, offline: bool = False) -> Path:
    """Where a run of this kind leaves its files, below the workdir that a user names.

    Args:
        workdir: As of `--workdir`.
        only_student: As of the config.
        offline: Whether the one student is distilled from a teacher.

    Returns:
        The run's folder.

    Example:
        >>> run_folder("runs/demo", 5).name
        'baseline_student_5'
    """
    workdir = Path(workdir)
    kind = "offline" if offline else "baseline"
    return workdir / f"{kind}_student_{only_student}" if only_student else workdir


def refuse_workdir_of_another(config: ConfigDict, workdir: str | Path) -> None:
    """Raises when the workdir holds what another config has trained.

    Args:
        config: Config of the run that is to be resumed there.
        workdir: The run's folder, which need not be there.

    Raises:
        ConfigError: A field that changes what is computed differs.
    """
    workdir = Path(workdir)
    path = workdir / "config.json"
    trained = (workdir / "summary.json").exists() or any(workdir.glob("checkpoints/epoch_*"))
    if path.exists() and trained:
        refuse_other_config(config_module.from_json(path.read_text()), config, workdir)


def _make(workdir: Path) -> list[Path]:
    missing = [folder for folder in (workdir, *workdir.parents) if not folder.exists()]
    workdir.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _lock(path: Path):
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
