"""What the binaries share: a quiet start, one clear line for an error, an exit code."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, logging


def quiet_tensorflow() -> None:
    """Imports TensorFlow without what it prints about devices that are not there."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from oekd_tf.quiet import quiet_native_output

    with quiet_native_output():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401


def run(main: Callable[[], Any], argv: Sequence[str] | None = None) -> None:
    """Parses absl flags and runs `main`; an expected error becomes one line and exit code 1.

    Expected are errors of input and of the machine: ValueError, ArithmeticError (a NaN), OSError.
    `--verbosity=1` shows where they came from.

    Args:
        main: The work, with flags parsed.
        argv: Command line; the process's own if None.
    """

    def guarded(arguments: Sequence[str]) -> None:
        if len(arguments) > 1:
            raise app.UsageError(f"Only flags are allowed. Received: {arguments[1]!r}")
        try:
            main()
        except (ValueError, ArithmeticError, OSError) as error:
            logging.debug("raised here:", exc_info=True)
            raise SystemExit(f"error: {error}") from None

    app.run(guarded, argv=argv)
