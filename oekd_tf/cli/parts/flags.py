"""Flags and errors of commands that use absl, and a quiet start of TensorFlow."""

import difflib
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from absl import app, flags, logging
from ml_collections import ConfigDict

from oekd_tf.config.fields import FIELDS, Field
from oekd_tf.config.files import read_config
from oekd_tf.config.migration import MOVED
from oekd_tf.config.values import put_fields
from oekd_tf.core.errors import ConfigError, memory_line, missing_extra, one_line
from oekd_tf.core.machine import available_cores
from oekd_tf.core.signals import importing, one_line_on_signals
from oekd_tf.core.streams import complain, guarded
from oekd_tf.core.text import printable

_Number = TypeVar("_Number", int, float)

# Arguments of classes, which the config does not know; another method has others.
_LATER = ("method.", "backbone.arguments.")


def quiet_tensorflow(fine_tunes: bool = False) -> None:
    """Imports TensorFlow with fast convolutions and without messages about missing devices.

    Args:
        fine_tunes: Whether networks may be trained on in int8 before an export.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # On by default only for CPUs with AVX-512 VNNI; on others it halves the training step too.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if fine_tunes and available_cores() == 1:
        # With one thread these convolutions abort the process in a step that trains in int8.
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
    from oekd_tf.core.native_output import quiet_native_output

    with quiet_native_output(), importing():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401


def numbers(flag: flags.FlagHolder, kind: type[_Number]) -> list[_Number]:
    """The numbers of a flag that is a list.

    Args:
        flag: The flag.
        kind: int or float.

    Raises:
        ConfigError: One is none.
    """
    try:
        return [kind(number) for number in flag.value]
    except ValueError:
        raise ConfigError(
            f"--{flag.name} must be numbers. Received: {','.join(flag.value)!r}"
        ) from None


# Configs of a command line without --config.
_DEMO, _SMALL = "configs/demo.py", "configs/small.py"

# Fields that leave the students of a run as they are, or are one of its seeds.
_OF_ANY_RUN = ("name", "note", "seed", "data.data_dir", "export.", "fine_tuning.")


class ConfigFlag:
    """The flag `--config` of a command, with `--config.field=value` for single fields.

    Fields are applied after the file is read, with the rules that they have in a config. Without a
    file they are applied to the demo, or where they name other data to a start for any data: the
    demo takes a few small images.

    Args:
        own_data: Whether the command is always given data of the user's.

    Attributes:
        argv: Command line of the process.
    """

    def __init__(self, *, own_data: bool = False) -> None:
        self.argv = list(sys.argv)
        self._overrides: dict[str, str] = {}
        sys.argv = self.without_overrides(sys.argv)
        own_data = own_data or "data.source" in self._overrides
        self._file = flags.DEFINE_string(
            "config", _SMALL if own_data else _DEMO,
            f"Config file; what it does not set has its default. {_SMALL} with config.data.source.",
        )  # fmt: skip

    @property
    def value(self) -> ConfigDict:
        """The config with overrides applied, not checked yet."""
        config = read_config(self._file.value)
        if not all(path.startswith(_OF_ANY_RUN) for path in self._overrides):
            # What a file says of its own runs is not known of another.
            config.note = ""
        put_fields(config, self._overrides)
        return config

    def without_overrides(self, argv: Sequence[str]) -> list[str]:
        """Removes `--config.field=value` from a command line, and stores it.

        A field that is given twice has its last value.
        """
        rest, words = [], iter([*argv, ""])
        following = next(words)
        while following:
            word, following = following, next(words, "")
            match = re.fullmatch(r"--?(no)?config\.([^=]*)(=?)(.*)", word, re.DOTALL)
            if word in ("--config", "-config") and (not following or following[0] == "-"):
                raise SystemExit(f"error: --config must be followed by a file. Received: {word}")
            if not match:
                rest.append(word)
                continue
            negated, path, equals, value = match.groups()
            field = _field(path, word)
            if field and isinstance(field.default, bool) and not equals:
                value = str(not negated)
            elif negated:
                raise SystemExit(
                    f"error: --noconfig.FIELD must be of a field of True or False. Received: {word}"
                )
            elif not equals:
                if not following or following.startswith("--"):
                    raise SystemExit(
                        f"error: --config.{path} must be given a value. Received: {word}"
                    )
                value, following = following, next(words, "")
            self._overrides.pop(path, None)
            self._overrides[path] = value
        return rest


def _field(path: str, word: str) -> Field | None:
    """The field of a path; None for an argument of a class, which the config does not know.

    Raises:
        SystemExit: There is no such field; one line says so.
    """
    path = MOVED.get(path, path)
    if path in FIELDS or path.startswith(_LATER):
        return FIELDS.get(path)
    if path.startswith("loss."):
        raise SystemExit(
            f"error: Unknown config field {path}. What was config.loss is config.method since "
            "version 0.2: --config.method.arguments.NAME=VALUE, and for mutual learning "
            f"--config.method.name=dml. Received: {word}"
        )
    if inside := [field for field in FIELDS if field.startswith(f"{path}.")]:
        raise SystemExit(
            f"error: config.{path} must be set field by field, such as --config.{inside[0]}=VALUE; "
            f"--helpfields lists all. Received: {word}"
        )
    *_, name = path.split(".")
    near = difflib.get_close_matches(path, FIELDS, n=1) or [
        field for field in FIELDS if field.rpartition(".")[2] == name
    ]
    meant = f" Did you mean {near[0]}?" if near else ""
    raise SystemExit(
        f"error: Unknown config field {path}.{meant} --helpfields lists all. Received: {word}"
    )


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
    asked = _asked_help(argv[1:], doc or "", fields=config is not None)
    if config is not None and not asked:
        argv = sys.argv = config.without_overrides(argv)

    def expected(arguments: Sequence[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.ERROR)
        if len(arguments) > 1:
            raise SystemExit(f"error: Only flags are allowed. Received: {arguments[1]!r}")
        try:
            main()
        except BrokenPipeError:
            raise
        except (ValueError, ArithmeticError, OSError) as error:
            logging.debug("raised here:", exc_info=True)
            raise SystemExit(f"error: {printable(error)}") from None
        except ModuleNotFoundError as error:
            if line := missing_extra(error, sys.argv[0].rpartition("/")[2]):
                raise SystemExit(f"error: {line}") from None
            raise
        except SystemExit as stop:
            if message := getattr(stop, "message", ""):
                complain(message)
            raise
        except Exception as error:
            if line := memory_line(error):
                logging.debug("raised here:", exc_info=True)
                raise SystemExit(f"error: {line}") from None
            raise

    with guarded(), one_line_on_signals():
        if asked:
            print(asked)
            return
        app.run(expected, argv=argv, flags_parser=_parse)


def _asked_help(words: Sequence[str], doc: str, fields: bool) -> str:
    """The help that a command line asks for; "" if it asks for none."""
    if any(word in ("-h", "-help", "--help") for word in words):
        return _help(doc)
    return fields_help() if fields and "--helpfields" in words else ""


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


def _parse(argv: Sequence[str]) -> list[str]:
    app.define_help_flags()
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        text = one_line(error).replace(" ?", "?").rstrip(".")
        raise SystemExit(
            f"error: {text}{'' if text[-1] == '?' else '.'} --help lists all"
        ) from None
