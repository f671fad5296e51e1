"""Compatibility with configs and arguments of version 0.1."""

from typing import Any

from oekd_tf.methods.parts.method import Method

# Arguments of version 0.1 that are arguments of the method now.
CONSTRUCTOR = ("teacher_weights", "stem_gradient", "train_adaptation", "adaptation_initializer")
COMPILE = (
    "temperature",
    "label_weight",
    "feature_weight",
    "distillation_weight",
    "distillation_target",
    "feature_scale",
    "distillation_warmup_steps",
)
_SAME = ("temperature", "label_weight", "feature_weight", "distillation_weight", "feature_scale")


def refuse_arguments(given: dict[str, Any], moved: tuple[str, ...], where: str) -> None:
    """Raises for arguments of version 0.1 that are arguments of the method now.

    Args:
        given: Arguments by name.
        moved: Names of the arguments that have moved.
        where: Name of the function that they were given to.

    Raises:
        ValueError: One of them is given.
    """
    for name in moved:
        if name in given:
            raise ValueError(
                f"{name} is an argument of the method since version 0.2, not of {where}: "
                "OnlineEnsemble(..., method=oekd_tf.methods.OEKD(...)), or method='dml' for mutual "
                "learning. "
                f"Received: {name}={given[name]!r}"
            )


def constructor_config(config: dict[str, Any]) -> dict[str, Any]:
    """Migrates the config of the constructor to this version.

    Args:
        config: Config from `get_config` of this version or of 0.1, which is changed in place.

    Returns:
        The migrated config.
    """
    if "method" not in config:
        from oekd_tf import methods

        arguments = {name: config.pop(name) for name in CONSTRUCTOR if name in config}
        config["method"] = methods.OEKD.paper(**arguments)
    return config


def compile_config(method: Method, config: dict[str, Any]) -> dict[str, Any]:
    """Migrates the config of `compile` to this version; settings of the method are set there.

    Args:
        method: Method of the ensemble.
        config: Config from `get_compile_config` of this version or of 0.1, which is changed in
            place.

    Returns:
        The migrated config.

    Raises:
        ValueError: The config uses a feature of version 0.1 that this version does not have.
    """
    old = {name: config.pop(name) for name in COMPILE if name in config}
    for name, values in (
        ("distillation_target", ("ensemble",)),
        ("distillation_warmup_steps", (0,)),
    ):
        if name in old and old[name] not in values:
            raise ValueError(
                f"This file was written by oekd_tf 0.1 with {name}={old[name]!r}, which this "
                "version cannot go on with. Load it with compile=False for its students, or train "
                "on with oekd_tf 0.1."
            )
    for name in _SAME:
        if name in old:
            setattr(method, name, old[name])
    return config
