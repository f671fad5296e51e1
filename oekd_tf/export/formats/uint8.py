"""A student as TFLite in int8 that takes pixels as they are."""

from oekd_tf.export.formats.parts.base import STAGES
from oekd_tf.export.formats.parts.integer import MORE_IMAGES, IntegerKind


class Uint8(IntegerKind):
    """Int8 inside, uint8 in and out: the input is the pixels themselves."""

    order = 60
    file_name = "uint8.tflite"
    tensor_types = ("int8", "uint8", "int32", "int64", "bool")
    io_type = "uint8"
    allowed_stages = STAGES
    advice = f"{MORE_IMAGES}, mixed (--rescue), int16x8, or qat_uint8"
