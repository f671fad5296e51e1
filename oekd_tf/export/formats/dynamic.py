"""A student as TFLite with int8 weights and float activations."""

from typing import Any

from oekd_tf.export.formats.parts.tflite import FLOAT_TYPES, TfliteKind


class Dynamic(TfliteKind):
    """Int8 weights; activations are float32 and are rounded where they meet the weights."""

    order = 40
    file_name = "dynamic.tflite"
    tensor_types = (*FLOAT_TYPES, "int8")
    required_type = "int8"
    missing_type_note = (
        "; the converter leaves kernels of fewer than 1,024 weights in float here, not in int8"
    )
    advice = "try float16, or qat_int8"

    def configure(self, converter: Any, calibrated: bool) -> None:
        """Asks for int8 weights.

        Args:
            converter: `tf.lite.TFLiteConverter` whose attributes to set.
            calibrated: Whether it will measure the ranges of activations: never here.
        """
        import tensorflow as tf

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
