"""Students made smaller after their training: in int8, with zeros, with few values."""

from oekd_tf.core.lazy import attach

_PUBLIC = {
    "FineTuning": ".fine_tuning",
    "make_twin": ".twin",
}
__all__ = sorted(_PUBLIC)
__getattr__ = attach(__name__, _PUBLIC)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
