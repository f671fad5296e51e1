"""Atomic writes of files and folders."""

import contextlib
import ctypes
import glob
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextlib.contextmanager
def temporary_path(path: str | Path) -> Iterator[Path]:
    """A sibling path to write a file or folder to, renamed to `path` when the block succeeds.

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
    # The suffix stays last: Keras chooses a file's format by it.
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)


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

    Temporary folders of killed processes beside `output` are deleted.

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
    partial = output.with_name(f".partial-{os.getpid()}-{output.name}")
    with write_errors(output.parent):
        output.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(output)
        partial.mkdir()
    try:
        yield partial
        if not (overwrite and output.exists()):
            partial.rename(output)
        elif not _exchange(partial, output):
            old = output.with_name(f".old-{os.getpid()}-{output.name}")
            output.rename(old)
            try:
                partial.rename(output)
            except OSError:
                old.rename(output)
                raise
            remove(old)
    finally:
        remove(partial)


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


def _remove_abandoned(output: Path) -> None:
    for path in output.parent.glob(f".partial-*-{glob.escape(output.name)}"):
        process = re.fullmatch(r"\.partial-(\d+)-.*", path.name)
        if process and not _runs(int(process[1])):
            remove(path)


def _runs(process: int) -> bool:
    # In a container each start may have the number of the one that was killed.
    if process == os.getpid():
        return False
    return Path(f"/proc/{process}").exists() or not Path("/proc/self").exists()
