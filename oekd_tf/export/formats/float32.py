"""A student as TFLite in float32."""

from oekd_tf.export.formats.parts.base import ExactKind
from oekd_tf.export.formats.parts.tflite import TfliteKind


class Float32(ExactKind, TfliteKind):
    """Float32 weights and activations: the student as it is."""

    order = 20
    file_name = "float32.tflite"
