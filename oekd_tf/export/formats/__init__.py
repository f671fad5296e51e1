"""The formats that a student is exported in: one file a format.

A format is a module of this folder that defines one subclass of `Kind`
(`oekd_tf.export.formats.parts.base`); its file's name is its name. Nothing else lists them, so
that a new format is a new file and no other change. Configs are checked against these names before
any framework is loaded: the modules import libraries inside of functions only.

Before its name a format says what the student goes through first: `pruned_`, `clustered_` and
`qat_` (quantization-aware training), in this order. "int8" is the trained student quantized;
"pruned_qat_int8" was pruned, then trained on in int8, then quantized.
"""

import functools
import importlib
import pkgutil

from oekd_tf.export.formats.parts.base import STAGES, About, Format, Kind, Source

__all__ = [
    "DEFAULT_FORMATS",
    "RULE",
    "STAGES",
    "About",
    "Format",
    "Kind",
    "Source",
    "is_format",
    "kind",
    "names",
    "parse",
]

DEFAULT_FORMATS = ("saved_model", "float32", "int8")


def names() -> tuple[str, ...]:
    """Names of all kinds of files, in the order in which messages list them.

    Example:
        >>> names()[:3]
        ('saved_model', 'float32', 'float16')
    """
    return tuple(sorted(_files(), key=lambda name: (kind(name).order, name)))


def kind(name: str) -> Kind:
    """What a student is written as, without what it goes through before.

    Args:
        name: One of `names()`.

    Returns:
        The kind, the same object each time.

    Raises:
        ValueError: There is no such kind.

    Example:
        >>> kind("int8").file_name
        'int8.tflite'
    """
    if name not in _files():
        raise ValueError(f"A kind must be one of {', '.join(names())}. Received: {name!r}")
    return _load(name)


def parse(name: str) -> Format:
    """The format of a name.

    Args:
        name: Name of a format, for instance "int8" or "pruned_qat_int8".

    Returns:
        What the name says.

    Raises:
        ValueError: There is no such format.

    Example:
        >>> parse("pruned_int8").stages
        ('pruned',)
    """
    stages, rest = [], name
    for stage in STAGES:
        if rest.startswith(f"{stage}_"):
            stages.append(stage)
            rest = rest.removeprefix(f"{stage}_")
    if rest not in _files() or not set(stages) <= set(kind(rest).allowed_stages):
        raise ValueError(f"A format must be {RULE}. Received: {name!r}")
    return Format(name, tuple(stages), kind(rest))


def is_format(name: str) -> bool:
    """Whether there is a format of this name."""
    try:
        parse(name)
    except (ValueError, AttributeError):
        return False
    return True


def _files() -> set[str]:
    return {module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg}


@functools.cache
def _load(name: str) -> Kind:
    module = importlib.import_module(f"{__name__}.{name}")
    own = [
        found
        for found in vars(module).values()
        if isinstance(found, type)
        and issubclass(found, Kind)
        and found.__module__ == module.__name__
    ]
    if len(own) != 1:
        raise ImportError(
            f"{module.__file__} must define one subclass of Kind. Received: {len(own)}"
        )
    return own[0]()


def _rule() -> str:
    trained = [f"qat_{name}" for name in names() if "qat" in kind(name).allowed_stages]
    return (
        f"one of {', '.join(names())}; prefix pruned_ and/or clustered_ to fine-tune first; "
        f"{' and '.join(trained)} take the same prefixes"
    )


RULE = _rule()
