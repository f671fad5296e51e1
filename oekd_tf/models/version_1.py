"""What version 0.1 wrote and took, in the words of today."""

from typing import Any

from oekd_tf.methods.parts.method import Method

# Arguments that are the method's now.
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
    """Raises for an argument that was here in version 0.1 and is the method's now.

    Args:
        given: Arguments by name.
        moved: Names of those that have moved.
        where: What they were given to.

    Raises:
        ValueError: One of them is given.
    """
    for name in moved:
        if name in given:
            raise ValueError(
                f"{name} is an argument of the method since version 0.2, not of {where}: "
                f"OnlineEnsemble(..., method=oekd_tf.methods.OEKD(...)). "
                f"Received: {name}={given[name]!r}"
            )


def constructor_config(config: dict[str, Any]) -> dict[str, Any]:
    """The constructor's config, with a method where version 0.1 had arguments.

    Args:
        config: As `get_config` of this or the earlier version gave it; changed.

    Returns:
        The same, in the form of today.
    """
    if "method" not in config:
        from oekd_tf import methods

        arguments = {name: config.pop(name) for name in CONSTRUCTOR if name in config}
        config["method"] = methods.OEKD(**arguments)
    return config


def compile_config(method: Method, config: dict[str, Any]) -> dict[str, Any]:
    """The config of `compile`, after what is the method's has been given to the method.

    Args:
        method: Method of the ensemble that is compiled.
        config: As `get_compile_config` of this or the earlier version gave it; changed.

    Returns:
        What is left.

    Raises:
        ValueError: The earlier version did what no method of this one does.
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
