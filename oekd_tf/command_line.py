"""What the binaries share: a quiet start, one clear line for an error, an exit code."""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import app, flags, logging


def quiet_tensorflow() -> None:
    """Imports TensorFlow, with fast convolutions and without its notes about missing devices."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # On by default only for CPUs with AVX-512 VNNI; on others it halves the training step too.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
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
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.ERROR)
        if len(arguments) > 1:
            raise app.UsageError(f"Only flags are allowed. Received: {arguments[1]!r}")
        try:
            main()
        except (ValueError, ArithmeticError, OSError) as error:
            logging.debug("raised here:", exc_info=True)
            raise SystemExit(f"error: {error}") from None
        except SystemExit as stop:
            if message := getattr(stop, "message", ""):
                print(message, file=sys.stderr)
            raise

    app.run(guarded, argv=argv, flags_parser=_parse)


@contextlib.contextmanager
def naming_fields() -> Iterator[None]:
    """One line for a `--config.field=value` whose field the config does not have.

    For the definition of a config's flag, which reads the command line where --config is left out.

    Example:
        >>> with naming_fields():
        ...     config = config_flags.DEFINE_config_file("config", "configs/demo.py")
    """
    try:
        yield
    except (AttributeError, KeyError) as error:
        # As ml_collections says it, some of it quoted twice.
        text = str(error).replace("\\", "")
        name = (re.search(r"'(\w+)'", text) or [text, text])[1]
        near = re.search(r'Did you mean "(\w+)"', text)
        given = next((word for word in sys.argv if name in word), name)
        raise SystemExit(
            "error: --config.field=value must name a field of the config"
            f"{f', such as {near[1]}' if near else ''}. Received: {given}"
        ) from None


def _parse(argv: Sequence[str]) -> list[str]:
    app.define_help_flags()
    with naming_fields():
        return app.parse_flags_with_usage(argv)
