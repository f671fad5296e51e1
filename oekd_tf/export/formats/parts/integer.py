"""TFLite formats whose weights and activations are integers throughout."""

from typing import Any

from oekd_tf.export.formats.parts.tflite import TfliteKind

MORE_IMAGES = "try more, and more typical, calibration images of the training split"


class IntegerKind(TfliteKind):
    """A kind of TFLite file of int8 weights and integer activations, input and output.

    Attributes:
        operation_set: Name in `tf.lite.OpsSet` of the operations that calibration allows.
    """

    required_type = "int8"
    calibrated = True
    operation_set: str = "TFLITE_BUILTINS_INT8"

    def configure(self, converter: Any, calibrated: bool) -> None:
        """Asks for integers inside, and for `io_type` in and out.

        Args:
            converter: `tf.lite.TFLiteConverter` whose attributes to set.
            calibrated: Whether it will measure the ranges of activations.
        """
        import tensorflow as tf

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if calibrated:
            # A student that was trained in int8 has its ranges in its graph, which this rejects.
            converter.target_spec.supported_ops = [getattr(tf.lite.OpsSet, self.operation_set)]
        converter.inference_input_type = tf.as_dtype(self.io_type)
        converter.inference_output_type = tf.as_dtype(self.io_type)
