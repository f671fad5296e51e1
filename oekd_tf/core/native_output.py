"""Suppresses output of native libraries."""

import contextlib
import os
import sys
from collections.abc import Iterator

# The process's error streams that are put aside, the real one first.
_aside: list[int] = []


def error_descriptor() -> int:
    """The file descriptor of the process's error stream, where that is put aside too."""
    return _aside[0] if _aside else 2


@contextlib.contextmanager
def quiet_native_output() -> Iterator[None]:
    """Discards native output to the process's error stream, unless the block fails.

    TensorFlow's C++ code prints messages about missing CUDA drivers at import, and about every
    conversion; TF_CPP_MIN_LOG_LEVEL does not silence all of them. If the block raises an
    error, its output is shown.

    Example:
        >>> with quiet_native_output():
        ...     import tensorflow
    """
    # Here, because commands import this module before Ctrl-C is one line.
    import tempfile

    if sys.stderr is not None:
        sys.stderr.flush()
    saved = os.dup(2)
    _aside.append(saved)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            yield
        except Exception:
            os.dup2(saved, 2)
            captured.seek(0)
            os.write(2, captured.read())
            raise
        finally:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(saved, 2)
            _aside.remove(saved)
            os.close(saved)
