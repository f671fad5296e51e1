"""Inference, benchmarks and selection of exported students, without TensorFlow."""

from oekd_tf.core.lazy import attach

_PUBLIC = {
    "TfliteModel": ".tflite_model",
}
__all__ = sorted(_PUBLIC)
__getattr__ = attach(__name__, _PUBLIC)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
