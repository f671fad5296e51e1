"""Rules of methods' arguments, each a function that gives the value or raises."""

import math
from collections.abc import Sequence


def check_weight(name: str, value: float) -> float:
    """A weight of the loss as a float.

    Args:
        name: Name of the argument, for the error.
        value: What was given.

    Raises:
        ValueError: It is below 0 or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number. Received: {value!r}")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be at least 0. Received: {value}")
    return float(value)


def check_decay(name: str, value: float) -> float:
    """The decay of a moving average as a float.

    Args:
        name: Name of the argument, for the error.
        value: What was given.

    Raises:
        ValueError: It is not above 0 and below 1.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ValueError(f"{name} must be a number above 0 and below 1. Received: {value!r}")
    return float(value)


def check_share(name: str, value: float) -> float:
    """A share of the training as a float.

    Args:
        name: Name of the argument, for the error.
        value: What was given.

    Raises:
        ValueError: It is not above 0 and at most 1.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ValueError(f"{name} must be a number above 0 and at most 1. Received: {value!r}")
    return float(value)


def check_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """One of several names.

    Args:
        name: Name of the argument, for the error.
        value: What was given.
        choices: What it may be.

    Raises:
        ValueError: It is none of them.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}. Received: {value!r}")
    return value


def check_views(value: int | str) -> int | str:
    """How many views of an image a method takes: 1, or "students".

    Args:
        value: What was given.

    Raises:
        ValueError: It is neither.
    """
    if value != "students" and (value != 1 or isinstance(value, bool)):
        raise ValueError(f"views must be 1 or 'students'. Received: {value!r}")
    return value


def check_temperature(value: float) -> float:
    """A temperature as a float.

    Args:
        value: What was given.

    Raises:
        ValueError: It is not above 0, or so large that its square is not finite in float32.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"temperature must be a number. Received: {value!r}")
    if not (math.isfinite(value) and 0 < value <= 1e6):
        raise ValueError(f"temperature must be above 0 and at most 1000000. Received: {value}")
    return float(value)


def check_students(students: int, least: int, why: str) -> None:
    """Raises where a method needs more students.

    Args:
        students: How many there are.
        least: How many there must be.
        why: Why, after "because".

    Raises:
        ValueError: There are fewer.
    """
    if students < least:
        number = {2: "two", 3: "three"}[least]
        raise ValueError(
            f"widths must be of {number} students at least, because {why}. Received: {students}"
        )
