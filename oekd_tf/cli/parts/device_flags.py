"""Flags and errors of commands for devices, without absl."""

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from oekd_tf.core.errors import memory_line
from oekd_tf.core.json_files import validate
from oekd_tf.core.records import Device
from oekd_tf.core.signals import one_line_on_signals
from oekd_tf.core.streams import guarded
from oekd_tf.core.text import printable

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30}


class Parser(argparse.ArgumentParser):
    """argparse, with one line and exit code 1 for an error."""

    def __init__(self, program: str, description: str):
        super().__init__(
            f"oekd {program}",
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        raise SystemExit(f"error: {message}. --help says what there is")


def run(
    parser: Parser, main: Callable[[argparse.Namespace], Any], argv: Sequence[str] | None
) -> None:
    """Parses flags and runs `main`; an expected error becomes one line and exit code 1.

    Args:
        parser: Parser of the command.
        main: Function that does the work, called with the flags.
        argv: Command line without the program; the process's own if None.
    """
    with guarded(), one_line_on_signals():
        flags = parser.parse_args(argv)
        try:
            main(flags)
        except BrokenPipeError:
            raise
        except (ValueError, OSError) as error:
            raise SystemExit(f"error: {printable(error)}") from None
        except Exception as error:
            if line := memory_line(error):
                raise SystemExit(f"error: {line}") from None
            raise


def names(text: str) -> list[str]:
    """Parses a comma-separated list of names.

    Example:
        >>> names("int8,float32")
        ['int8', 'float32']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def device_name(text: str) -> str:
    """Parses the name of a device.

    Raises:
        argparse.ArgumentTypeError: The text is empty, too long or has control characters.
    """
    try:
        validate(text, Device)
    except ValueError:
        raise argparse.ArgumentTypeError(
            "must be a name of at most 200 characters without control characters. "
            f"Received: {text[:80]!r}"
        ) from None
    return text


def byte_count(text: str) -> int:
    """Parses a size in bytes, with or without a unit.

    Args:
        text: Text of the flag, for instance "100000", "100kB" (thousands) or "64KiB" (1,024).

    Returns:
        The number of bytes.

    Raises:
        argparse.ArgumentTypeError: The text is no size.

    Example:
        >>> byte_count("1.5MB")
        1500000
    """
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([a-z]*)", text.strip().lower())
    if (
        not match
        or match[2] not in _UNITS
        or not (count := round(float(match[1]) * _UNITS[match[2]]))
    ):
        raise argparse.ArgumentTypeError(
            f"must be a size such as 100000, 100kB, 1.5MB or 64KiB. Received: {text!r}"
        )
    return count


def share(text: str) -> float:
    """Parses a share, "0.8" or "80%".

    Raises:
        argparse.ArgumentTypeError: The text is no number, or not from 0 to 1.
    """
    value = _number(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(
            f"must be from 0 to 1, or a percentage. Received: {text!r}"
        )
    return value


def positive_share(text: str) -> float:
    """Parses a share above 0.

    Raises:
        argparse.ArgumentTypeError: The text is no share, or 0.
    """
    if not (value := share(text)):
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1. Received: {text!r}")
    return value


def positive_number(text: str) -> float:
    """Parses a number above 0.

    Raises:
        argparse.ArgumentTypeError: The text is no such number.
    """
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0. Received: {text!r}")
    return value


def positive_integer(text: str) -> int:
    """Parses a whole number above 0.

    Raises:
        argparse.ArgumentTypeError: The text is no such number.
    """
    if not re.fullmatch(r"0*[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"must be a whole number above 0. Received: {text!r}")
    return int(text)


def positive_integers(text: str) -> list[int]:
    """Parses a comma-separated list of whole numbers above 0.

    Raises:
        argparse.ArgumentTypeError: A part of the text is no such number.
    """
    return [positive_integer(part.strip()) for part in text.split(",")]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
