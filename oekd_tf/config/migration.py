"""Migration of configs of older versions."""

from collections.abc import Mapping
from typing import Any

from oekd_tf.core.errors import ConfigError
from oekd_tf.core.paper import OEKD_ARGUMENTS

# Fields of two sections that are arguments of the method now.
MOVED = {
    **{
        f"loss.{name}": f"method.arguments.{name}"
        for name in (
            "temperature",
            "label_weight",
            "feature_weight",
            "distillation_weight",
            "feature_scale",
            "warmup_epochs",
        )
    },
    **{
        f"ensemble.{name}": f"method.arguments.{name}"
        for name in (
            "teacher_weights",
            "stem_gradient",
            "train_adaptation",
            "adaptation_initializer",
        )
    },
}
_TARGET = "distillation_target"


def migrate(values: Mapping[str, Any]) -> dict[str, Any]:
    """Migrates the values of a config to this version.

    Args:
        values: Content of a config.json of this version or an older one.

    Returns:
        The values, with fields of 0.1 at their current paths, and arguments that were left out as
        the defaults of their time.

    Raises:
        ConfigError: The config uses a feature of version 0.1 that this version does not have.
    """
    old = {"loss": values.get("loss"), "ensemble": values.get("ensemble")}
    if "method" in values or not isinstance(old["loss"], Mapping):
        return _with_old_defaults(values)
    if old["loss"].get(_TARGET, "ensemble") != "ensemble":
        raise ConfigError(
            f"This run was written by oekd_tf 0.1 with config.loss.{_TARGET}="
            f"{old['loss'][_TARGET]!r}, which kept adaptation layers that this version's method "
            "'dml' does not have. Use oekd_tf 0.1 for it, or train anew."
        )
    arguments = {}
    for path, new in MOVED.items():
        section, _, name = path.partition(".")
        fields = old[section]
        if isinstance(fields, Mapping) and name in fields:
            arguments[new.rpartition(".")[2]] = fields[name]
    # Uniform weights were an empty tuple.
    if not arguments.get("teacher_weights", True):
        del arguments["teacher_weights"]
    return _with_old_defaults({**values, "method": {"name": "oekd", "arguments": arguments}})


def _with_old_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `OEKD` that are left out as they were, the paper's; later files have all."""
    method = values.get("method")
    if not isinstance(method, Mapping) or method.get("name", "oekd") != "oekd":
        return dict(values)
    given = method.get("arguments", {})
    if not isinstance(given, Mapping):
        return dict(values)
    return {**values, "method": {**method, "arguments": {**OEKD_ARGUMENTS, **given}}}


def migrate_overrides(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted path, with fields of 0.1 at their current paths."""
    return {MOVED.get(path, path): value for path, value in overrides.items()}
