"""Configs as JSON, and field values from a command line."""

import ast
import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from oekd_tf.config.building import method_arguments
from oekd_tf.config.check import check, check_field, nearest
from oekd_tf.config.fields import FIELDS, default_config
from oekd_tf.config.migration import migrate, migrate_overrides
from oekd_tf.core.errors import ConfigError, format_value, one_line
from oekd_tf.core.json_files import read_file

# Fields that hold the arguments of a class, whose paths are below theirs.
_ARGUMENTS = ("backbone.arguments", "method.arguments")


def to_json(config: ConfigDict) -> str:
    """A config as indented JSON, with fields sorted by name and all arguments of the method.

    Arguments that are left out would mean something else as soon as a default of the class changes.
    """
    values = config.to_dict()
    values["method"]["arguments"] = method_arguments(config)
    return json.dumps(values, indent=2, sort_keys=True) + "\n"


def from_file(
    path: str | Path, *, imports: bool = True, arguments: Mapping[str, Any] | None = None
) -> ConfigDict:
    """Reads and checks a file that `to_json` wrote.

    Args:
        path: Path of the file.
        imports: As in `from_json`.
        arguments: Arguments of the method in place of those in the file.

    Returns:
        The config.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: The file cannot be read, or is no config.
    """
    try:
        text = read_file(path).decode()
        if arguments:
            values = json.loads(text)
            values["method"]["arguments"].update(arguments)
            text = json.dumps(values)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path} must be a config. Received: {one_line(error)}") from None
    try:
        return from_json(text, imports=imports)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def from_json(text: str, *, imports: bool = True) -> ConfigDict:
    """Parses and checks a config that `to_json` wrote.

    Args:
        text: Text of the JSON file. Fields that are missing in older files have their defaults.
        imports: Whether to import the modules that it names as backbone and method; false for a
            config that is only compared, because importing a module runs its code.

    Returns:
        The config.

    Raises:
        ConfigError: The text is no JSON of a config, or a field breaks its rule.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"A config must be JSON: {one_line(error)}. Received: {format_value(text)}"
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(f"A config must be a JSON object. Received: {format_value(values)}")
    values = migrate(values)
    config = default_config()
    for path in FIELDS:
        node, given = config, values
        *parents, name = path.split(".")
        for parent in parents:
            node, given = node[parent], given.get(parent, {})
            if not isinstance(given, dict):
                raise ConfigError(
                    f"config.{parent} must be an object of fields. Received: {format_value(given)}"
                )
        if name in given:
            _put(node, name, path, given[name])
    check(config, imports=imports)
    return config


def set_fields(config: ConfigDict, values: Mapping[str, Any], within: Sequence[str]) -> None:
    """Sets fields of a finished run's config, and checks it.

    Args:
        config: Config, which is changed in place.
        values: Values by dotted path; text is parsed as Python if the field is not text.
        within: Sections that may change.

    Raises:
        ConfigError: There is no such field in these sections, or a rule is broken.

    Example:
        >>> set_fields(config, {"export.batch_size": "0"}, within=("export",))
    """
    put_fields(config, values, within)
    check(config)


def put_fields(
    config: ConfigDict, values: Mapping[str, Any], within: Sequence[str] | None = None
) -> None:
    """Sets fields of a config without checking the rules between fields.

    Args:
        config: Config, which is changed in place.
        values: Values by dotted path, as in `set_fields`. Arguments of a method or a backbone have
            paths of their own; `method.name` resets the arguments that are not given.
        within: Sections that may change; all if None.

    Raises:
        ConfigError: There is no such field in these sections, or its own rule is broken.
    """
    values = migrate_overrides(values)
    if "method.name" in values:
        # Also where it is the same, or it would mean what the config happens to have.
        values = {"method.name": values.pop("method.name"), "method.arguments": {}, **values}
    for path, value in values.items():
        field = next((f for f in _ARGUMENTS if path.startswith(f"{f}.")), path)
        if field not in FIELDS:
            raise ConfigError(
                f"A field to set must be one of a config{nearest(path)}. Received: {path!r}"
            )
        if within is not None and path.partition(".")[0] not in within:
            allowed = ", ".join(f"{section}.*" for section in within)
            raise ConfigError(
                f"A field to set must be one of those that may differ here: {allowed}. "
                f"Received: {path!r}"
            )
        *parents, name = field.split(".")
        node = config
        for parent in parents:
            node = node[parent]
        if isinstance(value, str) and not (isinstance(node[name], str) and field == path):
            value = read_value(value)
            if field == path:
                value = _of_kind(FIELDS[field].default, value)
        if field != path:
            value = {**node[name].to_dict(), path.removeprefix(f"{field}."): value}
        _put(node, name, field, value)


def read_value(text: str) -> Any:
    """Parses a field's value from a command line: a Python literal, or else text."""
    with contextlib.suppress(ValueError, SyntaxError):
        return ast.literal_eval(text)
    return text


def _of_kind(default: Any, value: Any) -> Any:
    """What a command line's text means for a field with this default, if it means that."""
    if isinstance(default, bool):
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        return words.get(str(value).lower(), value)
    if isinstance(default, float) and isinstance(value, int):
        with contextlib.suppress(OverflowError):
            return float(value)
    if isinstance(default, tuple) and not isinstance(value, tuple | list):
        return (value,)
    return value


def _put(node: ConfigDict, name: str, path: str, value: Any) -> None:
    """Sets a field to a value of any type, or raises a ConfigError."""
    field = FIELDS[path]
    if isinstance(field.default, tuple) and isinstance(value, list):
        value = tuple(value)
    elif isinstance(field.default, ConfigDict) and isinstance(value, dict):
        try:
            value = ConfigDict(value)
        # ConfigDict refuses names with dots and names of its methods, with different errors.
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise ConfigError(
                f"config.{path} must be {field.rule}: {one_line(error)}. "
                f"Received: {format_value(value)}"
            ) from error
    check_field(path, field, value)
    with node.unlocked():
        node[name] = value
    if path in _ARGUMENTS:
        node[name].unlock()
