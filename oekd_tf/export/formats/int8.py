"""A student as TFLite in int8."""

from oekd_tf.export.formats.parts.base import STAGES
from oekd_tf.export.formats.parts.integer import MORE_IMAGES, IntegerKind


class Int8(IntegerKind):
    """Int8 throughout, int8 in and out: the input is pixel − 128."""

    order = 50
    file_name = "int8.tflite"
    tensor_types = ("int8", "int32", "int64", "bool")
    io_type = "int8"
    allowed_stages = STAGES
    advice = f"{MORE_IMAGES}, mixed (--rescue), int16x8, or qat_int8"
