"""How students teach each other: one file a method.

A method is a module of this folder that defines one subclass of `Method`; its file's name is its
name. Nothing else lists them, so that a new method is a new file and no other change.
"""

import difflib
import importlib
import inspect
import pkgutil
from typing import Any

from oekd_tf.core.errors import one_line
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.distillation import Distillation
from oekd_tf.methods.parts.method import Method
from oekd_tf.methods.parts.network import Network
from oekd_tf.methods.parts.progress import Progress

# Method classes are found by `__getattr__`, by the name of their file.
__all__ = [
    "Batch", "Distillation", "Method", "Network", "Progress",
    "argument_names", "get", "method_class", "names",
]  # fmt: skip


def names() -> tuple[str, ...]:
    """Names of all methods, in alphabetical order.

    Example:
        >>> oekd_tf.methods.names()[:4]
        ('cl_ilr', 'dkel', 'dml', 'ffl')
    """
    found = pkgutil.iter_modules(__path__)
    return tuple(sorted(module.name for module in found if not module.ispkg))


def method_class(name: str) -> type[Method]:
    """The class of a method.

    Args:
        name: One of `names()`, or "module:Class" for a method of one's own.

    Returns:
        A subclass of `Method`.

    Raises:
        ValueError: There is no such method.

    Example:
        >>> oekd_tf.methods.method_class("oekd")
        <class 'oekd_tf.methods.oekd.OEKD'>
    """
    reason = ""
    if name in names():
        module = importlib.import_module(f"{__name__}.{name}")
        return next(
            found
            for found in vars(module).values()
            if isinstance(found, type)
            and issubclass(found, Method)
            and found.__module__ == module.__name__
        )
    path, colon, attribute = str(name).rpartition(":")
    # A relative name would be relative to nothing.
    if colon and path and not path.startswith("."):
        try:
            found = getattr(importlib.import_module(path), attribute)
            if isinstance(found, type) and issubclass(found, Method):
                return found
            reason = ", which is no subclass of oekd_tf.methods.Method"
        except (ImportError, AttributeError) as error:
            reason = f": {one_line(error)}"
    near = difflib.get_close_matches(str(name).lower(), names(), n=1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"A method must be one of {', '.join(names())}, or the 'module:Class' of one's own.{meant} "
        f"Received: {name!r}{reason}"
    )


def argument_names(method: type[Method]) -> list[str]:
    """Names of the arguments of a method's class, those of `Method` last.

    Example:
        >>> oekd_tf.methods.argument_names(oekd_tf.methods.Labels)
        ['label_weight', 'stem_gradient']
    """
    found: dict[str, None] = {}
    for one in method.__mro__:
        own = vars(one).get("__init__")
        parameters = inspect.signature(own).parameters.values() if own else ()
        kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        found |= {p.name: None for p in parameters if p.kind not in kinds}
        if one is Method:
            break
    return [name for name in found if name not in ("self", "name")]


def get(method: str | Method, **arguments: Any) -> Method:
    """A method from its name.

    Args:
        method: A name as of `method_class`, or a method, which is returned as it is.
        **arguments: Arguments of the class; none with a method that is one already.

    Returns:
        The method.

    Raises:
        ValueError: There is no such method, or an argument breaks its rule.
        TypeError: The class has no such argument.

    Example:
        >>> oekd_tf.methods.get("dml", temperature=3.0)
    """
    if isinstance(method, Method):
        if arguments:
            raise ValueError(
                f"A method that is made already takes no arguments. Received: {sorted(arguments)}"
            )
        return method
    if isinstance(method, type):
        raise ValueError(
            f"A method must be made, as in method={method.__name__}(), or be a name. "
            f"Received: the class {method.__name__}"
        )
    return method_class(method)(**arguments)


def __getattr__(name: str) -> type[Method]:
    for module in names() if not name.startswith("_") else ():
        if module.replace("_", "") == name.replace("_", "").lower():
            found = method_class(module)
            if found.__name__ == name:
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *(method_class(name).__name__ for name in names())])
