"""Exceptions of the package, and error messages of one line."""

import contextlib
import re
import signal
from collections.abc import Iterable, Iterator
from typing import Any

from oekd_tf.core.signals import exit_code

_LONGEST = 300

# What a shell and a scheduler see of a process that SIGTERM ended.
EXIT_CODE = exit_code(signal.SIGTERM)


class ConfigError(ValueError):
    """A config breaks a rule; the message names the field, the rule and the value."""


class ExportError(ValueError):
    """A student cannot be exported, or a written file does not do what the student does."""


class RefusedFilesError(ExportError):
    """Some files of an export failed their checks; the others are delivered."""


class CheckpointError(ValueError):
    """A checkpoint is damaged, or is of another network."""


class NonFiniteLossError(ArithmeticError):
    """A loss became NaN or infinite."""


class Preempted(SystemExit):
    """The run was stopped by a signal; the same command resumes it.

    The exit code is 143 after SIGTERM, 130 after Ctrl-C.
    """

    def __init__(self, message: str, number: int = signal.SIGTERM):
        super().__init__(exit_code(number))
        self.number = number
        self.message = message

    def __str__(self) -> str:
        return self.message


class WorkerLostError(ConnectionError):
    """Another host of the run has died or cannot be reached."""


class ResultsError(ValueError):
    """A results file cannot be read, or is another study's."""


class RecordError(ValueError):
    """Files of a run do not belong to the study."""


class WorkerError(ValueError):
    """A worker process failed; its output is above."""


class Stopped(SystemExit):
    """The study was stopped; the same command resumes it.

    The exit code is 143 after SIGTERM, 130 after Ctrl-C.
    """

    def __init__(self, what: str, number: int = signal.SIGTERM):
        super().__init__(exit_code(number))
        self.message = f"stopped in {what}; run the same command again to resume"


def memory_line(error: BaseException) -> str | None:
    """What to say of an error for want of memory; None for other errors.

    Example:
        >>> memory_line(MemoryError())
        'not enough memory'
    """
    if not isinstance(error, MemoryError) and type(error).__name__ != "ResourceExhaustedError":
        return None
    reason = one_line(error).partition(" [Op:")[0]
    return f"not enough memory: {reason}" if reason else "not enough memory"


# What comes with an extra of this package, and is needed to train.
_EXTRAS = {"keras": "train", "tensorflow": "train", "tensorflow_datasets": "train", "jax": "jax"}


def missing_extra(error: ModuleNotFoundError, what: str) -> str | None:
    """What to install where only the light part of the package is.

    Args:
        error: The import that failed.
        what: What needed it.

    Returns:
        One line; None if the module comes with no extra.

    Example:
        >>> missing_extra(ModuleNotFoundError(name="keras"), "oekd train")
        "oekd train needs keras, which is not installed. Run: pip install 'oekd-tf[train]'"
    """
    extra = _EXTRAS.get((error.name or "").partition(".")[0])
    if extra is None:
        return None
    return f"{what} needs {error.name}, which is not installed. Run: pip install 'oekd-tf[{extra}]'"


def format_value(value: Any) -> str:
    """A value as one line of an error, truncated if it is long.

    Example:
        >>> format_value("a/b")
        "'a/b'"
    """
    try:
        text = repr(value)
    except ValueError:
        # Python does not write out whole numbers of more than 4,300 digits.
        text = f"{type(value).__name__} of too many digits to show"
    return one_line(text)


def one_line(text: object) -> str:
    """Text without line breaks, truncated if it is long."""
    # Keras writes for a terminal: in bold.
    text = " ".join(re.sub(r"\x1b\[\d*m", "", str(text)).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


@contextlib.contextmanager
def as_config_error(fields: Iterable[str], otherwise: str) -> Iterator[None]:
    """Turns errors of functions that take a config's values into errors about its fields.

    Errors of this package begin with the argument that breaks its rule, and arguments have the
    names of their fields. Other errors, such as libraries', follow a rule of the config.

    Args:
        fields: Dotted paths of the fields whose values are passed on.
        otherwise: Rule that is broken where an error begins with none of the fields' names.

    Raises:
        ConfigError: The block raised a ValueError, TypeError or OverflowError.

    Example:
        >>> with as_config_error(["data.image_size"], "config.data.source must name a data set"):
        ...     load("fashion_mnist_mini", image_size=(0, 0))  # config.data.image_size must be ...
    """
    try:
        yield
    except ConfigError:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        # Keras appends the arguments of its own call, which do not help here.
        text = one_line(str(error).partition("Arguments received by ")[0])
        by_name = {field.rpartition(".")[2]: field for field in fields}
        field = by_name.get(text.partition(" ")[0])
        if field:
            text = text.removeprefix(field.rpartition(".")[2])
            raise ConfigError(f"config.{field}{text}") from error
        link = ": " if "Received" in text else ". Received: "
        raise ConfigError(f"{otherwise}{link}{text}") from error
