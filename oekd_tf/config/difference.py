"""Comparison of configs, so that a folder is not used for two of them."""

from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from oekd_tf.config.building import method_arguments
from oekd_tf.config.fields import FIELDS, get
from oekd_tf.config.values import from_json, to_json
from oekd_tf.core.errors import ConfigError

# Fields that may differ when a run is resumed: they do not change what is computed.
_MAY_DIFFER = (
    "strategy",
    "logical_cpus",
    "jit_compile",
    "checkpoint_every",
    "checkpoints_kept",
    "data.data_dir",
    "data.download",
    "data.cache",
    # What is trained and said besides.
    "baselines",
    "note",
    # Path of the teacher, not its identity.
    "teacher_workdir",
    "export.",
    "fine_tuning.",
)


class Difference(NamedTuple):
    """A field in which two configs differ.

    Attributes:
        path: Dotted path of the field.
        one: Value in the one config.
        other: Value in the other.
    """

    path: str
    one: Any
    other: Any


def first_difference(one: ConfigDict, other: ConfigDict) -> Difference | None:
    """The first difference between two configs that changes what is computed.

    Args:
        one: A config.
        other: Another config.

    Returns:
        The difference; None if runs of both configs are equivalent.
    """
    for path in FIELDS:
        values = get(one, path), get(other, path)
        if values[0] == values[1] or path.startswith(_MAY_DIFFER):
            continue
        if not isinstance(values[0], ConfigDict):
            return Difference(path, *values)
        left, right = (value.to_dict() for value in values)
        if path == "method.arguments":
            # An argument that is left out has its default.
            left, right = method_arguments(one), method_arguments(other)
        for name in [*left, *right]:
            if left.get(name) != right.get(name):
                return Difference(f"{path}.{name}", left.get(name), right.get(name))
    return None


def refuse_other_config(
    there: ConfigDict, asked: ConfigDict, place: str | Path, error: type[ValueError] = ConfigError
) -> None:
    """Raises if a folder or file of one config is about to be used for another.

    Args:
        there: Config that the folder or file was made with.
        asked: Config that it is about to be used for.
        place: Path of the folder or file, for the error.
        error: Class of the error.

    Raises:
        ValueError: A field that changes what is computed differs.
    """
    # After a round trip through JSON, which turns tuples in arguments into lists.
    found = first_difference(there, from_json(to_json(asked), imports=False))
    if found:
        raise error(
            f"{place} was made with config.{found.path}={found.one!r}, not {found.other!r}. "
            "Use the same value, or another --workdir."
        )
