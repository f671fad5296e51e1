"""Attributes of a package that are imported when first asked for."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def attach(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Makes a module-level `__getattr__` (PEP 562) that imports on first use.

    `import oekd_tf` then costs nothing: a binary can set TensorFlow's environment before
    TensorFlow loads, and a device without TensorFlow can use the parts that do not need it.

    Args:
        package: The package's `__name__`.
        modules: For each public name, the module it lives in, relative to the package
            (`".losses"`). A name whose module ends in that very name is the module itself.

    Returns:
        The function to bind to `__getattr__`.

    Example:
        >>> __getattr__ = attach(__name__, {"OnlineEnsemble": ".ensemble", "losses": ".losses"})
    """

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(modules[name], package)
        return module if modules[name] == f".{name}" else getattr(module, name)

    return load
