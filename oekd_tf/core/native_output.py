"""Suppresses output of native libraries."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_native_output() -> Iterator[None]:
    """Discards native output to the process's error stream, unless the block fails.

    TensorFlow's C++ code prints messages about missing CUDA drivers at import, and about every
    conversion; TF_CPP_MIN_LOG_LEVEL does not silence all of them. If the block raises, its output
    is shown.

    Example:
        >>> with quiet_native_output():
        ...     import tensorflow
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            captured.seek(0)
            os.write(2, captured.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
