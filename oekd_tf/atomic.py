"""Files and folders that appear whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def temporary_path(path: str | Path) -> Iterator[Path]:
    """A sibling path to write a file or folder to, renamed to `path` when the block succeeds.

    Args:
        path: Where the file or folder is to be; its parent must exist. A file that is there is
            replaced, a folder that is not empty is an error.

    Yields:
        The path to write to. If the block fails, what it wrote is deleted.

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
    """Writes a text file whole or not at all.

    Args:
        path: The file; its folder is made if need be.
        text: Its content.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_path(path) as partial:
        partial.write_text(text)
