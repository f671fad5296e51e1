"""Folders of runs: locks, and checks against use for another config."""

import contextlib
import json
from collections.abc import Collection, Iterator
from pathlib import Path

from ml_collections import ConfigDict

from oekd_tf import config as config_module
from oekd_tf.config.difference import refuse_other_config
from oekd_tf.core.errors import ConfigError
from oekd_tf.core.json_files import read_file
from oekd_tf.core.locks import LockedError, locked_file

_FILE_NAME = ".lock"

# What a run writes into its folder.
_RUN_FILES = (
    "accuracy.png", "config.json", "confusion.npz", "confusion.png", "contract.json",
    "data_files.json.gz", "ensemble.keras", "initial_weights.keras", "metrics.csv", "report.md",
    "student.keras", "summary.json", "trade_off.png",
)  # fmt: skip


def require_run(workdir: str | Path) -> Path:
    """The file of a run's config, where the folder is a run's.

    Looks at the folder only, so that a command can ask before TensorFlow takes its time.

    Args:
        workdir: Folder of the run.

    Raises:
        ConfigError: The folder holds no run.
    """
    path = Path(workdir) / "config.json"
    if not path.exists():
        raise ConfigError(f"A workdir must hold a run's config.json. Received: {workdir}")
    return path


@contextlib.contextmanager
def locked(workdir: str | Path) -> Iterator[None]:
    """Makes the folder, and locks it while the block runs.

    The operating system releases the lock when the process ends.

    Args:
        workdir: Folder of the run.

    Raises:
        ConfigError: Another process holds the lock.
        OSError: The folder cannot be written.

    Example:
        >>> with locked("runs/demo"):
        ...     train()
    """
    workdir = Path(workdir)
    made = _make(workdir)
    try:
        with contextlib.ExitStack() as lock:
            try:
                lock.enter_context(locked_file(workdir / _FILE_NAME))
            except LockedError as error:
                raise ConfigError(
                    f"--workdir must not be in use by another run. Received: {workdir}, "
                    f"in use by {error.owner}"
                ) from error
            yield
    finally:
        # A run that was refused leaves no empty folders.
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()


def run_folder(workdir: str | Path, only_student: int = 0, *, offline: bool = False) -> Path:
    """The folder of a run, below the workdir that a user gives.

    Args:
        workdir: Value of `--workdir`.
        only_student: Value of the config's field `only_student`.
        offline: Whether the one student is distilled from a teacher.

    Returns:
        Folder of the run.

    Example:
        >>> run_folder("runs/demo", 5).name
        'baseline_student_5'
    """
    workdir = Path(workdir)
    kind = "offline" if offline else "baseline"
    return workdir / f"{kind}_student_{only_student}" if only_student else workdir


def refuse_workdir_of_another(config: ConfigDict, workdir: str | Path) -> None:
    """Raises if the workdir holds a run of another config.

    Args:
        config: Config of the run that is to be resumed there.
        workdir: Folder of the run, which need not exist.

    Raises:
        ConfigError: A field that changes what is computed differs, or files of something else
            would be overwritten.
    """
    workdir = Path(workdir)
    path = workdir / "config.json"
    trained = (workdir / "summary.json").exists() or any(workdir.glob("checkpoints/epoch_*"))
    if not (path.exists() and (trained or _is_of_a_run(path))):
        refuse_files_of_others(workdir, _RUN_FILES)
    elif trained:
        refuse_other_config(config_module.from_file(path, imports=False), config, workdir)


def refuse_files_of_others(workdir: str | Path, names: Collection[str]) -> None:
    """Raises if a folder that no run has used yet holds files that one would overwrite.

    Args:
        workdir: Folder, which need not exist.
        names: Names of the files.

    Raises:
        ConfigError: There is one.
    """
    workdir = Path(workdir)
    for name in sorted(names):
        if (workdir / name).exists():
            raise ConfigError(
                "--workdir must be a folder that is new or of an earlier run. "
                f"Received: {workdir}, where {name} is of something else"
            )


def _is_of_a_run(path: Path) -> bool:
    try:
        values = json.loads(read_file(path))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and {"backbone", "data", "epochs"} <= values.keys()


def _make(workdir: Path) -> list[Path]:
    if workdir.exists() and not workdir.is_dir():
        raise ConfigError(f"--workdir must be a folder. Received: {workdir}, which is a file")
    missing = [folder for folder in (workdir, *workdir.parents) if not folder.exists()]
    workdir.mkdir(parents=True, exist_ok=True)
    return missing[::-1]
