"""A student as TFLite with weights of sixteen bits."""

from typing import Any

from oekd_tf.export.formats.parts.base import ExactKind
from oekd_tf.export.formats.parts.tflite import FLOAT_TYPES, TfliteKind


class Float16(ExactKind, TfliteKind):
    """Float16 weights, which are expanded to float32 when the file is opened."""

    order = 30
    file_name = "float16.tflite"
    tensor_types = (*FLOAT_TYPES, "float16")
    required_type = "float16"

    def configure(self, converter: Any, calibrated: bool) -> None:
        """Asks for float16 weights.

        Args:
            converter: `tf.lite.TFLiteConverter` whose attributes to set.
            calibrated: Whether it will measure the ranges of activations: never here.
        """
        import tensorflow as tf

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
