"""Atomic writes of files and folders."""

import contextlib
import ctypes
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from oekd_tf.core.locks import FileLock, LockedError, locked_file
from oekd_tf.core.regular import regular
from oekd_tf.core.text import printable

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2

# Names in the folder that a writer claims.
_LOCK = ".lock"
_OLD = ".old"
_LEFT = re.compile(r"(^|/)\.partial-[0-9a-f]{8}-[^/]*(/|$)")

# What file managers leave where a user has looked.
_SYSTEM_FILES = {".DS_Store", "Thumbs.db", "desktop.ini", "@eaDir"}


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
    # A link is written through, as other programs do; a device or a pipe would be replaced.
    path = regular(os.path.realpath(path))
    with _claimed(path) as folder:
        # The same name: Keras chooses a file's format by its suffix.
        partial = folder / path.name
        try:
            yield partial
        except OSError as error:
            # A write that fails, as on a full disk, does not say of which file.
            if error.errno is None or error.filename is not None:
                raise
            raise type(error)(error.errno, error.strerror, str(path)) from error
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
        # Names of files may hold bytes that are no text.
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a binary file atomically.

    Args:
        path: Path of the file, whose folder exists.
        content: Content of the file.
    """
    with temporary_path(path) as partial:
        partial.write_bytes(content)


@contextlib.contextmanager
def replaced(
    output: str | Path,
    overwrite: bool = False,
    known: Callable[[Path], Collection[str] | None] | None = None,
) -> Iterator[Path]:
    """A temporary sibling that becomes `output` when the block succeeds.

    What killed processes left of writing the same `output` is deleted.

    Args:
        output: Path of the folder.
        overwrite: Whether to replace an existing folder; otherwise that is an error.
        known: As of `foreign_content`: a folder that holds anything else is not replaced.

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
            claimed = claim.enter_context(_claimed(output))
            partial = claimed / output.name
            partial.mkdir()
        yield partial
        # Looked at once more: it may have come, or changed, meanwhile.
        if known and overwrite and output.exists() and (found := foreign_content(output, known)):
            raise FileExistsError(
                f"A folder of others must not be replaced. Received: {output}, {found}"
            )
        if not (overwrite and output.exists()):
            partial.rename(output)
        elif not _exchange(partial, output):
            output.rename(claimed / _OLD)
            try:
                partial.rename(output)
            except OSError:
                (claimed / _OLD).rename(output)
                raise


@contextlib.contextmanager
def alone(output: str | Path) -> Iterator[None]:
    """Keeps other processes from writing the same folder while the block runs.

    The same thread may do so again within the block.

    Args:
        output: Path of the folder, which need not exist.

    Raises:
        LockedError: Another process is writing it.
        OSError: The folder beside it cannot be written.

    Example:
        >>> with alone("savedmodels/run1"):
        ...     export_students(ensemble, "savedmodels/run1", **arguments)
    """
    output = Path(output)
    with write_errors(output.parent):
        output.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as lock:
        try:
            lock.enter_context(locked_file(output.with_name(f".{output.name}.lock"), again=True))
        except LockedError as error:
            raise LockedError(
                f"{output} must be written by one process at a time. Received: a folder that "
                f"{error.owner} is writing",
                error.owner,
            ) from None
        except OSError as error:
            raise type(error)(f"{output.parent} must be writable. Received: {error}") from error
        yield


@contextlib.contextmanager
def write_errors(folder: str | Path) -> Iterator[None]:
    """Turns errors of writing into an OSError of one line.

    Args:
        folder: Folder that is written to.
    """
    try:
        yield
    except LockedError:
        raise
    except OSError as error:
        raise type(error)(f"{folder} must be writable. Received: {error}") from error
    except Exception as error:
        # TensorFlow's file system raises errors of its own.
        if type(error).__module__.startswith("tensorflow"):
            # Without the operation that failed, {{function_node ...}}.
            reason = re.sub(r"^\{\{.*?\}\}\s*", "", str(error).splitlines()[0])
            raise OSError(f"{folder} must be writable. Received: {reason}") from error
        raise


def foreign_content(
    folder: str | Path, known: Callable[[Path], Collection[str] | None]
) -> str | None:
    """What in a folder was not written by this package, so that the folder must not be replaced.

    Args:
        folder: An existing path.
        known: Gives the paths, below the folder, of what this package wrote there, by the content
            of the file that marks such a folder; None if there is no such mark.

    Returns:
        What is there, for an error; None if the folder is empty, or holds nothing of others.
    """
    folder = Path(folder)
    if folder.is_symlink() or not folder.is_dir():
        return "which is no folder"
    if not any(folder.iterdir()):
        return None
    ours = known(folder)
    if ours is None:
        return "which this command did not write"
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.name in _SYSTEM_FILES or _LEFT.search(name):
            continue
        # A folder is known by its content, or as a whole.
        if name in ours or any(f"{name[:i]}" in ours for i, c in enumerate(name) if c == "/"):
            continue
        if path.is_dir() and not path.is_symlink() and any(path.iterdir()):
            continue
        return f"which holds {printable(name)}"
    return None


def is_system_file(path: Path) -> bool:
    """Whether a file manager, and nobody else, has put a file there.

    Args:
        path: Path of the file, relative to the folder that is looked at.

    Example:
        >>> is_system_file(Path("student_1/.DS_Store"))
        True
    """
    return not _SYSTEM_FILES.isdisjoint(path.parts)


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def as_output(path: str | Path) -> Path:
    """The path of a folder to make, without . and .. in it.

    `nowhere/../there` is not there, until `nowhere` is made.

    Raises:
        ValueError: It is a link that leads nowhere.

    Example:
        >>> as_output("nowhere/../there").name
        'there'
    """
    output = Path(os.path.normpath(path))
    if output.is_symlink() and not output.exists():
        raise ValueError(
            f"The output must be a folder. Received: {output}, a link to what is not there"
        )
    return output


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


@contextlib.contextmanager
def _claimed(path: Path) -> Iterator[Path]:
    """A new folder beside a path, locked by this process while the block runs, deleted after it."""
    _clear_abandoned(path)
    while True:
        folder = path.with_name(f".partial-{secrets.token_hex(4)}-{path.name}")
        folder.mkdir()
        try:
            lock = FileLock(folder / _LOCK)
        except FileNotFoundError:
            # Another process took the folder for abandoned before it was locked.
            continue
        except OSError:
            remove(folder)
            raise
        with lock:
            if lock.held is False or not lock.is_in_place():
                continue
            try:
                yield folder
            finally:
                remove(folder)
        return


def _clear_abandoned(path: Path) -> None:
    """Deletes what killed processes left of writing a path; what they moved away is put back."""
    # The second are of earlier versions.
    name = re.compile(
        rf"\.partial-[0-9a-f]{{8}}-{re.escape(path.name)}"
        rf"|\.(partial|old)-\d+(\.\d+)?-{re.escape(path.name)}"
    )
    try:
        siblings = [entry for entry in path.parent.iterdir() if name.fullmatch(entry.name)]
    except OSError:
        # Not there, or not to be read; writing says so.
        return
    for folder in siblings:
        if folder.is_symlink() or not folder.is_dir():
            continue
        with contextlib.suppress(OSError), FileLock(folder / _LOCK) as lock:
            # Without locks it may be of a process that runs elsewhere.
            if not lock.held or not lock.is_in_place():
                continue
            old = folder / _OLD
            if not path.exists() and (old.exists() or folder.name.startswith(".old-")):
                if old.exists():
                    old.rename(path)
                else:
                    (folder / _LOCK).unlink()
                    folder.rename(path)
                    continue
            remove(folder)
