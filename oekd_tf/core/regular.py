"""Files that are none: pipes, sockets and devices, which never end or are never there."""

import errno
import os
import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class IrregularFileError(OSError):
    """A path is a pipe, a socket or a device where a file must be."""

    def __str__(self) -> str:
        return f"A file must be a regular one. Received: {self.filename}, {self.strerror}"


def irregular_kind(path: str | bytes | os.PathLike) -> str:
    """What a path is that is neither a file nor a folder; "" for these, and for what is not there.

    Example:
        >>> irregular_kind("/dev/zero")
        'a device'
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        # Who opens it says so.
        return ""
    return next((name for is_one, name in _KINDS if is_one(mode)), "")


def regular(path: str | Path) -> Path:
    """A path that is safe to open: to open a pipe waits for its other end, a device has no end.

    Args:
        path: Path of a file, which need not exist.

    Returns:
        The path.

    Raises:
        IrregularFileError: It is a pipe, a socket or a device.
    """
    if kind := irregular_kind(path):
        raise IrregularFileError(errno.EINVAL, kind, os.fspath(path))
    return Path(path)
