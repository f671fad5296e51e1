"""Students trained together against the same students trained alone, over seeds."""

from oekd_tf.core.lazy import attach

_PUBLIC = {
    "agreement": ".evaluation",
    "compare": ".study",
    "expected_calibration_error": ".evaluation",
    "negative_log_likelihood": ".evaluation",
    "relative_gain": ".statistics",
    "reliability": ".evaluation",
    "write_report": ".report",
}
__all__ = sorted(_PUBLIC)
__getattr__ = attach(__name__, _PUBLIC)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
