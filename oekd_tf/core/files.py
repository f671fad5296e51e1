"""Atomic writes of files and folders."""

import contextlib
import ctypes
import itertools
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Not on Windows.
    fcntl = None  # type: ignore[assignment]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextlib.contextmanager
def temporary_path(path: str | Path) -> Iterator[Path]:
    """A path nearby to write a file or folder to, renamed to `path` when the block succeeds.

    What killed processes left of writing the same path is deleted.

    Args:
        path: Path of the file or folder; its parent must exist. An existing file is replaced, an
            existing folder that is not empty is an error.

    Yields:
        The path to write to, which is deleted if the block fails.

    Example:
        >>> with temporary_path("model.tflite") as partial:
        ...     partial.write_bytes(content)
    """
    path = Path(path)
    with _claimed(path) as folder:
        # The same name: Keras chooses a file's format by its suffix.
        partial = folder / path.name
        yield partial
        os.replace(partial, path)


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file atomically.

    Args:
        path: Path of the file; its folder is made if need be.
        text: Content of the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_path(path) as partial:
        partial.write_text(text)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a binary file atomically.

    Args:
        path: Path of the file, whose folder exists.
        content: Content of the file.
    """
    with temporary_path(path) as partial:
        partial.write_bytes(content)


@contextlib.contextmanager
def replaced(output: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """A temporary sibling that becomes `output` when the block succeeds.

    What killed processes left of writing the same `output` is deleted.

    Args:
        output: Path of the folder.
        overwrite: Whether to replace an existing folder; otherwise that is an error.

    Yields:
        The folder to write to. If the block fails it is deleted and `output` stays as it was.

    Raises:
        OSError: The folder cannot be written, or `output` exists and is not to be replaced.

    Example:
        >>> with replaced("savedmodels/run1") as folder:
        ...     (folder / "manifest.json").write_text("{}")
    """
    output = Path(output)
    with contextlib.ExitStack() as claim:
        with write_errors(output.parent):
            output.parent.mkdir(parents=True, exist_ok=True)
            partial = claim.enter_context(_claimed(output))
        yield partial
        if not (overwrite and output.exists()):
            partial.rename(output)
        elif not _exchange(partial, output):
            old = output.with_name(f".old-{os.getpid()}-{output.name}")
            with _Lock(output):
                output.rename(old)
                try:
                    partial.rename(output)
                except OSError:
                    old.rename(output)
                    raise
                remove(old)


@contextlib.contextmanager
def write_errors(folder: str | Path) -> Iterator[None]:
    """Turns errors of writing into an OSError of one line.

    Args:
        folder: Folder that is written to.
    """
    try:
        yield
    except OSError as error:
        raise type(error)(f"{folder} must be writable. Received: {error}") from error
    except Exception as error:
        # TensorFlow's file system raises errors of its own.
        if type(error).__module__.startswith("tensorflow"):
            reason = str(error).splitlines()[0]
            raise OSError(f"{folder} must be writable. Received: {reason}") from error
        raise


def is_replaceable(folder: str | Path, mark: str) -> bool:
    """Whether a folder was written by this package, so that it is safe to overwrite.

    Args:
        folder: An existing folder.
        mark: Name of a file that marks folders of this package.

    Returns:
        Whether it is a folder with that file, or an empty one.
    """
    folder = Path(folder)
    return folder.is_dir() and ((folder / mark).is_file() or not any(folder.iterdir()))


def remove(path: str | Path) -> None:
    """Deletes a file or folder, if it exists."""
    path = Path(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _exchange(first: Path, second: Path) -> bool:
    """Exchanges two paths atomically.

    Only Linux can, and not on every file system.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    paths = (_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second))
    return rename(*paths, _RENAME_EXCHANGE) == 0


class _Lock:
    """The lock of a folder, which the system releases when the process ends, however it ends.

    A process's number does not tell whether it runs: another process, or one in another container,
    may have the same.

    Args:
        folder: An existing folder.

    Attributes:
        held: Whether this process has the lock; None where the system has no locks of folders.

    Raises:
        FileNotFoundError: There is no such folder any more.
    """

    def __init__(self, folder: Path):
        self.held: bool | None = None
        self._descriptor = -1
        if fcntl is None:
            return
        self._descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.held = True
        except BlockingIOError:
            self.held = False
        except OSError:
            # Network file systems lock files only.
            self.held = None

    def __enter__(self) -> "_Lock":
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def is_of(self, folder: Path) -> bool:
        """Whether the folder there is still the one that is locked."""
        if self._descriptor < 0:
            return True
        try:
            return os.path.samestat(os.fstat(self._descriptor), folder.stat())
        except FileNotFoundError:
            return False


@contextlib.contextmanager
def _claimed(path: Path) -> Iterator[Path]:
    """A new folder beside a path, of this process alone while the block runs, deleted after it."""
    _clear_abandoned(path)
    for number in itertools.count():
        # Of several threads, or of a killed process where folders have no locks.
        process = f"{os.getpid()}.{number}" if number else f"{os.getpid()}"
        folder = path.with_name(f".partial-{process}-{path.name}")
        try:
            folder.mkdir()
            lock = _Lock(folder)
        except FileExistsError:
            continue
        except FileNotFoundError:
            if not path.parent.is_dir():
                raise
            continue
        with lock:
            # Another process may have taken the folder for abandoned before it was locked.
            if lock.held is False or not lock.is_of(folder):
                continue
            try:
                yield folder
            finally:
                remove(folder)
        return


def _clear_abandoned(path: Path) -> None:
    """Deletes what killed processes left of writing a path; what they moved away is put back."""
    name = re.compile(rf"\.(partial|old)-\d+(\.\d+)?-{re.escape(path.name)}")
    try:
        siblings = [entry for entry in path.parent.iterdir() if name.fullmatch(entry.name)]
    except OSError:
        # Not there, or not to be read; writing says so.
        return
    for folder in siblings:
        if folder.is_symlink() or not folder.is_dir():
            continue
        with contextlib.suppress(OSError), _Lock(folder) as lock:
            # Without locks it may be of a process that runs elsewhere.
            if not lock.held or not lock.is_of(folder):
                continue
            if folder.name.startswith(".old-") and not path.exists():
                folder.rename(path)
            else:
                remove(folder)
