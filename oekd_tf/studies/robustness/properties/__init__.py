"""What robustness is measured of: one file a property.

A property is a module of this folder; its file's name is the property's, and nothing else lists
them. It has

- `ORDER`: its place in reports, a number;
- `steps(material)`: what is to be measured;
- `summary(settings)`: its columns in the table of all properties;
- `details(settings, channels)`: the columns of its own table; none if there is no need of one;
- where it has one, `draw(axes, networks, settings)`: its part of the picture of all properties;
- where it has one, `PICTURE`: the name of a picture of its own, which a step draws.
"""

import importlib
import pkgutil
from types import ModuleType

from oekd_tf.studies.robustness.material import Material, Step


def names() -> tuple[str, ...]:
    """Names of all properties, in the order of reports.

    Example:
        >>> "corruption" in names()
        True
    """
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(found, key=lambda name: (module(name).ORDER, name)))


def module(name: str) -> ModuleType:
    """The module of a property.

    Args:
        name: One of `names()`.
    """
    return importlib.import_module(f"{__name__}.{name}")


def steps(name: str, material: Material) -> list[Step]:
    """What a property measures of the networks of a run.

    Args:
        name: One of `names()`.
        material: Networks and images.
    """
    return module(name).steps(material)
