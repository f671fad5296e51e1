"""Construction of the backbone and the method of a config."""

import difflib
import importlib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from oekd_tf.config.fields import default_config
from oekd_tf.core.errors import ConfigError, as_config_error, format_value, one_line

if TYPE_CHECKING:
    from oekd_tf.methods.parts.method import Method


def make_backbone(config: ConfigDict, **arguments: Any) -> Any:
    """The backbone that a config names.

    Args:
        config: The config.
        **arguments: Arguments beside those of the config.

    Returns:
        An instance of `oekd_tf.backbones.Backbone`.

    Raises:
        ConfigError: There is no such class, or it refuses its arguments.
    """
    from oekd_tf import backbones

    name = config.backbone.name
    module, _, attribute = name.rpartition(":")
    reason = ""
    try:
        # There is no package that a relative name could refer to.
        if module.startswith("."):
            raise ImportError("a module's name begins with no '.'")
        family = getattr(importlib.import_module(module) if module else backbones, attribute)
        # A user's own may be a function that returns a family; this package has only classes.
        is_family = hasattr(family, "branch") or (bool(module) and callable(family))
    except (ImportError, AttributeError) as error:
        is_family, reason = False, f": {one_line(error)}" if module else ""
    if not is_family:
        raise ConfigError(
            "config.backbone.name must be a class of oekd_tf.backbones, or the 'module:name' of "
            "one's own that gives an object with stem and branch. "
            f"Received: {format_value(name)}{reason}"
        )
    if not isinstance(family, type):
        # A user's function need not know of what one device does not need.
        taken = inspect.signature(family).parameters
        passes_on = any(p.kind is p.VAR_KEYWORD for p in taken.values())
        arguments = {n: v for n, v in arguments.items() if v or passes_on or n in taken}
    with as_config_error((), f"config.backbone.arguments must suit {name}"):
        backbone = family(**config.backbone.arguments.to_dict(), **arguments)
    if not (hasattr(backbone, "stem") and hasattr(backbone, "branch")):
        raise ConfigError(
            f"config.backbone.name must give an object with stem and branch. Received: {name!r}, "
            f"which gives {type(backbone).__name__}"
        )
    return backbone


def make_method(config: ConfigDict, **arguments: Any) -> "Method":
    """The method that a config names.

    Args:
        config: The config.
        **arguments: Arguments in place of those of the config.

    Returns:
        A method that is not built yet.

    Raises:
        ConfigError: There is no such method, or it refuses its arguments.
    """
    from oekd_tf import methods

    try:
        family = methods.method_class(config.method.name)
    except ValueError as error:
        rule = one_line(error).removeprefix("A method must be")
        raise ConfigError(f"config.method.name must be{rule}") from error
    given = {**config.method.arguments.to_dict(), **arguments}
    known = methods.argument_names(family)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"config.method.arguments must suit {config.method.name!r}, which takes "
                f"{', '.join(known)}.{meant} Received: {name!r}"
            )
    fields = [f"method.arguments.{name}" for name in given]
    with as_config_error(fields, f"config.method.arguments must suit {config.method.name!r}"):
        return family(**given)


def method_arguments(config: ConfigDict) -> dict[str, Any]:
    """All arguments of the method that a config names, its class's defaults included.

    Args:
        config: The config.

    Returns:
        Values of the arguments by name, with lists in place of tuples, as in JSON.
    """
    from oekd_tf import methods

    family = methods.method_class(config.method.name)
    defaults: dict[str, Any] = {}
    # Those that a class passes on to its base are in the base's signature.
    for one in reversed(family.__mro__):
        if issubclass(one, methods.Method):
            parameters = inspect.signature(one).parameters.values()
            defaults |= {p.name: p.default for p in parameters if p.default is not p.empty}
    given = {**defaults, **config.method.arguments.to_dict()}
    return {n: list(v) if isinstance(v, tuple) else v for n, v in given.items() if n != "name"}


def changed_arguments(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those arguments that are not at the defaults of a method's class.

    Args:
        name: Name of the method. Of one's own method, "module:Class", whose module is not imported,
            all arguments are returned.
        arguments: Values by name, as in a run's config.json.
    """
    if ":" in name:
        return dict(arguments)
    config = default_config()
    config.method.name = name
    defaults = method_arguments(config)
    return {n: v for n, v in arguments.items() if n not in defaults or defaults[n] != v}
