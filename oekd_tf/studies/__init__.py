"""Comparisons of an ensemble with baselines, over seeds."""

from oekd_tf.core.lazy import attach

_PUBLIC = {
    "agreement": ".metrics",
    "compare": ".study",
    "expected_calibration_error": ".metrics",
    "negative_log_likelihood": ".metrics",
    "relative_gain": ".statistics",
    "reliability": ".metrics",
    "write_report": ".report",
}
__all__ = sorted(_PUBLIC)
__getattr__ = attach(__name__, _PUBLIC)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
