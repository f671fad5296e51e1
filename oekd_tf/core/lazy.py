"""Lazy imports of a package's attributes."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from oekd_tf.core.errors import missing_extra


def attach(
    package: str, names: Mapping[str, str], modules: Mapping[str, str] | None = None
) -> Callable[[str], Any]:
    """Makes a module-level `__getattr__` (PEP 562) that imports on first use.

    `import oekd_tf` then costs nothing: a binary can set TensorFlow's environment before
    TensorFlow loads, and a device without TensorFlow can use the parts that do not need it.

    Args:
        package: `__name__` of the package.
        names: For each public name the module that defines it, relative to the package
            (`".models.online_ensemble"`).
        modules: For each public name of a module, that module.

    Returns:
        A function to bind to `__getattr__`.

    Example:
        >>> __getattr__ = attach(__name__, {"train": ".run"}, {"losses": ".parts.losses"})
    """

    def load(name: str) -> Any:
        try:
            if name in names:
                return getattr(importlib.import_module(names[name], package), name)
            if modules and name in modules:
                return importlib.import_module(modules[name], package)
        except ModuleNotFoundError as error:
            if line := missing_extra(error, f"{package}.{name}"):
                raise ModuleNotFoundError(line, name=error.name) from error
            raise
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return load
