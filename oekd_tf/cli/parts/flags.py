"""Flags and errors of commands that use absl, and a quiet start of TensorFlow."""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from oekd_tf.config.fields import FIELDS
from oekd_tf.config.files import find_config
from oekd_tf.config.migration import MOVED
from oekd_tf.config.values import put_fields
from oekd_tf.core.errors import missing_extra
from oekd_tf.core.signals import one_line_on_ctrl_c

# Arguments of classes, which the config does not know; another method has others.
_LATER = ("method.", "backbone.arguments.")


def quiet_tensorflow() -> None:
    """Imports TensorFlow with fast convolutions and without messages about missing devices."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # On by default only for CPUs with AVX-512 VNNI; on others it halves the training step too.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    from oekd_tf.core.native_output import quiet_native_output

    with quiet_native_output():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401


def _with_found_file(word: str, following: Iterator[str]) -> str:
    """`--config=FILE` with the path of a file that is there."""
    _, equals, value = word.partition("=")
    value = value if equals else next(following, "")
    # What follows a colon is handed to the file's get_config.
    path, colon, argument = value.partition(":")
    found = find_config(path)
    if not Path(found).is_file():
        raise SystemExit(f"error: --config must be a file that is there. Received: {value!r}")
    return f"--config={found}{colon}{argument}"


class ConfigFlag:
    """The flag `--config` of a command, with `--config.field=value` for single fields.

    The config file need not name all arguments of a method's or a backbone's class; flags for
    these are applied after the file is read.

    Attributes:
        argv: Command line of the process.
    """

    def __init__(self) -> None:
        self.argv = list(sys.argv)
        self._overrides: dict[str, str] = {}
        sys.argv = self.without_overrides(sys.argv)
        with naming_fields():
            self._holder = config_flags.DEFINE_config_file(
                "config",
                find_config("configs/demo.py"),
                "Config file; what it does not set has its default.",
                lock_config=True,
            )

    @property
    def value(self) -> ConfigDict:
        """The config with overrides applied, not checked yet."""
        config = self._holder.value
        put_fields(config, self._overrides)
        self._overrides = {}
        return config

    def without_overrides(self, argv: Sequence[str]) -> list[str]:
        """Removes the flags that are applied later from a command line, and stores them."""
        rest, words = [], iter(argv)
        for word in words:
            path, equals, value = word.removeprefix("--config.").partition("=")
            if word.startswith("--config.loss.") and path not in MOVED:
                raise SystemExit(
                    f"error: Unknown config field {path}. What was config.loss is config.method "
                    "since version 0.2: --config.method.arguments.NAME=VALUE, and for mutual "
                    f"learning --config.method.name=dml. Received: {word}"
                )
            if word == "--config" or word.startswith("--config="):
                word = _with_found_file(word, words)
            later = path.startswith(_LATER) or path in MOVED
            if not (word.startswith("--config.") and later):
                rest.append(word)
                continue
            self._overrides[path] = value if equals else next(words, "")
        # A field that is given twice has its last value; absl would join those of a tuple.
        last = {word.partition("=")[0]: index for index, word in enumerate(rest)}
        return [
            word
            for index, word in enumerate(rest)
            if not (word.startswith("--config.") and "=" in word)
            or last[word.partition("=")[0]] == index
        ]


def run(
    main: Callable[[], Any],
    argv: Sequence[str] | None = None,
    *,
    doc: str | None = None,
    config: ConfigFlag | None = None,
) -> None:
    """Parses absl flags and runs `main`; an expected error becomes one line and exit code 1.

    Expected are errors of input and of the machine: ValueError, ArithmeticError (a NaN), OSError.
    `--verbosity=1` shows their traceback.

    Args:
        main: Function that does the work, called after flags are parsed.
        argv: Command line; the process's own if None.
        doc: Text of `--help` before the flags.
        config: The command's `--config`; None if it has none.
    """
    argv = list(sys.argv if argv is None else argv)
    # A method or a backbone of one's own is found from here, as `python -m` has it.
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    if any(word in ("-h", "-help", "--help") for word in argv[1:]):
        print(_help(doc or ""))
        return
    if config is not None:
        if "--helpfields" in argv[1:]:
            print(fields_help())
            return
        # ml_collections reads fields from the command line of the process.
        argv = sys.argv = config.without_overrides(argv)

    def guarded(arguments: Sequence[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.ERROR)
        if len(arguments) > 1:
            raise SystemExit(f"error: Only flags are allowed. Received: {arguments[1]!r}")
        try:
            main()
        except (ValueError, ArithmeticError, OSError) as error:
            logging.debug("raised here:", exc_info=True)
            raise SystemExit(f"error: {error}") from None
        except ModuleNotFoundError as error:
            if line := missing_extra(error, sys.argv[0].rpartition("/")[2]):
                raise SystemExit(f"error: {line}") from None
            raise
        except SystemExit as stop:
            if message := getattr(stop, "message", ""):
                print(message, file=sys.stderr)
            raise

    with one_line_on_ctrl_c():
        app.run(guarded, argv=argv, flags_parser=_parse)


def fields_help() -> str:
    """All fields of a config with default, meaning and rule."""
    lines = ["Fields of a config, for --config.FIELD=VALUE:", ""]
    for path, field in FIELDS.items():
        default = field.default
        default = default.to_dict() if isinstance(default, ConfigDict) else default
        lines += [f"  {path} = {default!r}", f"      {field.meaning} Must be {field.rule}."]
    return "\n".join(lines)


def _help(doc: str) -> str:
    lines = [doc.strip(), "", "flags:"]
    own = flags.FLAGS.flags_by_module_dict()
    for module, found in own.items():
        if not module.startswith("oekd_tf.cli") and module != "__main__" and "oekd" not in module:
            continue
        for flag in found:
            if "." in flag.name or flag.name == "config":
                continue
            text = " ".join((flag.help or "").split())
            lines.append(f"  --{flag.name}: {text}")
    if "config" in flags.FLAGS:
        lines.append("  --config: Config file; --helpfields lists all fields of a config.")
    return "\n".join(lines)


@contextlib.contextmanager
def naming_fields() -> Iterator[None]:
    """Turns an unknown field in `--config.field=value` into an error of one line.

    Also for the definition of a config's flag, which reads the command line if there is no
    --config.

    Example:
        >>> with naming_fields():
        ...     config = config_flags.DEFINE_config_file("config", "configs/demo.py")
    """
    try:
        yield
    except (AttributeError, KeyError) as error:
        # Messages of ml_collections are partly quoted twice.
        text = str(error).replace("\\", "")
        name = (re.search(r"'(\w+)'", text) or [text, text])[1]
        near = re.search(r'Did you mean "(\w+)"', text)
        given = next((word for word in sys.argv if name in word), name)
        raise SystemExit(
            f"error: Unknown config field {name}.{f' Did you mean {near[1]}?' if near else ''} "
            f"--helpfields lists all. Received: {given}"
        ) from None


def _parse(argv: Sequence[str]) -> list[str]:
    app.define_help_flags()
    with naming_fields():
        return app.parse_flags_with_usage(argv)
