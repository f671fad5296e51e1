"""JSON files of this package: read against the types of `oekd_tf.core.records`, or refused."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from oekd_tf.core.errors import format_value, one_line
from oekd_tf.core.records import PATTERNS
from oekd_tf.core.regular import regular

_T = TypeVar("_T")

# Above any file of ours; a larger one is something else, and would fill the memory.
_MOST_BYTES = 1 << 28

# A field in an error of msgspec: "Expected `int`, got `str` - at `$.students[0].parameters`".
_PLACE = re.compile(r" - at (?:`(key|values?)` in )?`\$(.*)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]|(\[\.\.\.\])")

_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "array": "a list",
    "object": "an object",
}

Place = tuple[str | int, ...]


def read_json(
    path: str | Path,
    kind: type[_T],
    what: str,
    error: type[ValueError] = ValueError,
    check: Callable[[_T], None] | None = None,
) -> _T:
    """Reads a JSON file of this package.

    Args:
        path: Path of the file.
        kind: Type of its content, of `oekd_tf.core.records`.
        what: What the file is, for the error: "an export's manifest".
        error: Class of the error.
        check: Raises a ValueError where fields do not fit together.

    Returns:
        The content, with the fields that the type does not know.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be read, or a field is not what the type says; one line with the
            file, the field, what it must be and what it is.

    Example:
        >>> manifest = read_json("savedmodels/demo/manifest.json", Manifest, "an export's manifest")
    """
    path = Path(path)
    try:
        return parse_json(read_file(path), kind, check)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as reason:
        raise error(f"{path} must be {what}. Received: {_reason(reason)}") from None


def read_file(path: str | Path) -> bytes:
    """Content of a file of ours, which is a regular file of sensible size.

    Args:
        path: Path of the file.

    Returns:
        Its content.

    Raises:
        OSError: It cannot be read.
        ValueError: It is too large.
    """
    # Reading a pipe or a device may never end.
    path = regular(path)
    if (size := path.stat().st_size) > _MOST_BYTES:
        raise ValueError(f"a file of {size:,} bytes")
    return path.read_bytes()


def parse_json(text: str | bytes, kind: type[_T], check: Callable[[_T], None] | None = None) -> _T:
    """Content of a JSON text, as `read_json` reads it from a file.

    Args:
        text: The text.
        kind: Type of its content.
        check: Raises a ValueError where fields do not fit together.

    Returns:
        The content.

    Raises:
        ValueError: The text is no JSON, or a field is not what the type says.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("JSON of too many levels") from None
    except ValueError as error:
        raise ValueError(f"no JSON: {one_line(error)}") from None
    for place, number in _numbers(value):
        if not math.isfinite(number):
            raise ValueError(f"{_name(place)} must be finite, and is {number}")
    validate(value, kind)
    if check is not None:
        check(value)
    return value


def validate(value: Any, kind: Any) -> None:
    """Raises a ValueError, which names the field, if a value is not of a type of the records.

    Args:
        value: Dicts, lists, text and numbers.
        kind: The type.

    Example:
        >>> validate({"examples": -1, "fingerprint": ""}, SplitFacts)
        Traceback (most recent call last):
        ValueError: examples must be `int` >= 0, and is -1
    """
    found = _failure(value, kind)
    if found is None:
        return
    rule, place, key = _located(value, kind, found)
    if missing := re.match(r"Object missing required field `(.*)`", rule):
        where = f" of {_name(place)}" if place else ""
        raise ValueError(f"no {missing[1]}{where}")
    rule = _in_words(rule)
    if key:
        raise ValueError(f"each name in {_name(place)} must be {rule}")
    received = format_value(_at(value, place))
    name = _name(place) if place else "all of it"
    raise ValueError(f"{name} must be {rule}, and is {received[:80]}")


def _in_words(rule: str) -> str:
    if rule.startswith("Invalid enum value"):
        return "what this version knows"
    for pattern, words in PATTERNS.items():
        if repr(pattern) in rule:
            return words
    rule = re.sub(r", got .*$", "", rule).removeprefix("Expected ")
    for name, word in _WORDS.items():
        rule = rule.replace(f"`{name}`", word).replace(f"`{name} | null`", f"{word} or null")
    return rule


def digest(value: Mapping[str, Any]) -> str:
    """SHA-256 of all fields of a file but its "digest", as JSON with sorted names.

    Example:
        >>> digest({"a": 1, "digest": "of before"}) == digest({"a": 1})
        True
    """
    fields = {name: field for name, field in value.items() if name != "digest"}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return one_line(error)


def _failure(value: Any, kind: Any) -> str | None:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        return str(error)
    except RecursionError:
        return "JSON of fewer levels"
    return None


def _located(value: Any, kind: Any, found: str) -> tuple[str, Place, bool]:
    """Rule and place of a failure, and whether it is that of a key.

    msgspec writes the keys of a dict as "[...]": each is tried alone.
    """
    match = _PLACE.search(found)
    if match is None:
        return found, (), False
    rule, text = found[: match.start()], match[2]
    place: list[str | int] = []
    for field, index, unknown in _STEP.findall(text):
        if unknown:
            there = _at(value, place)
            for key in list(there):
                trial = _replaced(value, place, {key: there[key]})
                if _failure(trial, kind) == found:
                    place.append(key)
                    break
            else:
                break
        else:
            place.append(int(index) if index else field)
    return rule, tuple(place), match[1] == "key"


def _at(value: Any, place: Place | list[str | int]) -> Any:
    for step in place:
        value = value[step]
    return value


def _replaced(value: Any, place: Place | list[str | int], new: Any) -> Any:
    if not place:
        return new
    first, *rest = place
    own: Any = dict(value) if isinstance(value, dict) else list(value)
    own[first] = _replaced(value[first], rest, new)
    return own


def _name(place: Place) -> str:
    """A place as people write it: "students[0].parameters"."""
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step}]"
        elif re.fullmatch(r"\w+", step):
            text += f".{step}"
        else:
            text += f"[{format_value(step)}]"
    return text.removeprefix(".")


def _numbers(value: Any) -> Iterator[tuple[Place, float]]:
    """All floats in a JSON value, with their places."""
    waiting: list[tuple[Place, Any]] = [((), value)]
    while waiting:
        place, one = waiting.pop()
        if isinstance(one, float):
            yield place, one
        elif isinstance(one, dict):
            waiting += [((*place, key), item) for key, item in one.items()]
        elif isinstance(one, list):
            waiting += [((*place, index), item) for index, item in enumerate(one)]
