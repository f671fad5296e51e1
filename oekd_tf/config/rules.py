"""Validation rules of fields: each a predicate and its description."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from ml_collections import ConfigDict

from oekd_tf.core import choices

Rule = tuple[Callable[[Any], bool], str]

# Range of float32 with room for a product; smaller values would underflow to 0.
_LARGEST = 1e30
_SMALLEST = 1e-30
# Largest seed of NumPy.
_LARGEST_WHOLE = 2**32 - 1


def is_number(value: Any) -> bool:
    """Whether a value is a number, no bool, within the range of float32."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value == 0 or _SMALLEST <= abs(value) <= _LARGEST


def is_whole(value: Any) -> bool:
    """Whether a value is an int, no bool, within the range of seeds and counters."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_WHOLE


def is_text(value: Any) -> bool:
    """Whether a value is text of one line that can be part of a path."""
    return isinstance(value, str) and not any(
        ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in value
    )


# Rules by type of a field's default.
_KINDS: dict[type, Rule] = {
    bool: (lambda v: isinstance(v, bool), "True or False"),
    int: (is_whole, f"a whole number, at most {_LARGEST_WHOLE}"),
    float: (is_number, f"a number, 0 or from {_SMALLEST:g} to {_LARGEST:g} in size"),
    str: (is_text, "text of one line"),
    tuple: (lambda v: isinstance(v, tuple), "a tuple"),
    ConfigDict: (lambda v: isinstance(v, ConfigDict), "a ConfigDict"),
}


def kind_rule(default: Any) -> Rule:
    """The rule of the type of a field with this default."""
    return _KINDS[type(default)]


def at_least(low: float) -> Rule:
    return lambda v: v >= low, f"at least {low}"


def above(low: float) -> Rule:
    return lambda v: v > low, f"above {low}"


def between(low: int, high: int) -> Rule:
    return lambda v: low <= v <= high, f"from {low} to {high}"


def one_of(*choices: str) -> Rule:
    return lambda v: v in choices, "one of " + ", ".join(repr(choice) for choice in choices)


def fraction() -> Rule:
    return lambda v: 0 <= v < 1, "at least 0 and below 1"


def share() -> Rule:
    return between(0, 1)


def boolean() -> Rule:
    return _KINDS[bool]


def text(*, empty: bool = False) -> Rule:
    return lambda v: empty or bool(v), "text" if empty else "text that is not empty"


def is_name(value: str) -> bool:
    """Whether a value is a valid file name on all systems, and not a hidden file."""
    allowed = all(c.isalnum() or c in "._-" for c in value)
    return 0 < len(value.encode()) <= 200 and allowed and not value.startswith(".")


def is_image_size(value: Sequence[Any]) -> bool:
    return len(value) in (0, 2) and all(is_whole(size) and 1 <= size <= 10_000 for size in value)


def are_widths(values: Sequence[Any]) -> bool:
    """Whether values are numbers that start with 1 and strictly decrease, all above 0."""
    return all(map(is_number, values)) and choices.are_widths(values)


def are_students(values: Sequence[Any]) -> bool:
    """Whether values are numbers of students, or -1 for the smallest, each once."""
    return all(is_whole(v) and (v > 0 or v == -1) for v in values) and len(set(values)) == len(
        values
    )


def are_rising_epochs(values: Sequence[Any]) -> bool:
    whole = all(is_whole(v) and v > 0 for v in values)
    return whole and all(a < b for a, b in itertools.pairwise(values))


def are_falling_sizes(values: Sequence[Any]) -> bool:
    return all(map(is_whole, values)) and are_falling_limits(values)


def are_falling_limits(values: Sequence[Any]) -> bool:
    numbers = all(is_number(v) and v > 0 for v in values)
    return numbers and all(a > b for a, b in itertools.pairwise(values))
