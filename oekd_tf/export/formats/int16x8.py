"""A student as TFLite with int8 weights and int16 activations."""

from oekd_tf.export.formats.parts.integer import MORE_IMAGES, IntegerKind


class Int16x8(IntegerKind):
    """Int8 weights; int16 activations, input and output."""

    order = 70
    file_name = "int16x8.tflite"
    tensor_types = ("int8", "int16", "int32", "int64", "bool")
    io_type = "int16"
    operation_set = "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"
    advice = f"{MORE_IMAGES}, or float16"
