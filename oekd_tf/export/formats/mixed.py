"""A student as TFLite in int8, with the layers that lose most in float32."""

from typing import TYPE_CHECKING, Any

import numpy as np

from oekd_tf.core.errors import ExportError
from oekd_tf.core.records import RescueFacts
from oekd_tf.export.formats.parts.base import Source
from oekd_tf.export.formats.parts.integer import MORE_IMAGES
from oekd_tf.export.formats.parts.tflite import FLOAT_TYPES, TfliteKind, batches, one_reason

if TYPE_CHECKING:
    from oekd_tf.export.formats.parts.tflite_contents import Operation

# Of accuracy, from 0 to 1.
_MAX_LOSS = 0.01
# Of the bytes in int8.
_MAX_GROWTH = 1.25
# Enough to tell layers apart.
_IMAGES_A_LAYER = 64


class Mixed(TfliteKind):
    """Int8, but for the layers that lose most; float32 in and out.

    It is for students whose int8 file loses too much. Each layer alone is tried in int8; those
    that cost most for their bytes stay in float32, as few as it takes for an expected loss of at
    most 1 point of accuracy on validation images, within 25 % more bytes than in int8. Where int8
    does not lose that much, no layer stays.
    """

    order = 75
    file_name = "mixed.tflite"
    derives_from = "float32"
    calibrated = True
    validated = True
    tensor_types = (*FLOAT_TYPES, "int8")
    required_type = "int8"
    advice = f"{MORE_IMAGES}, int16x8, or qat_int8"

    def convert(self, source: Source) -> bytes:
        """A student as the content of a TFLite file, with as few layers in float as it takes.

        Args:
            source: What to convert, with the float32 file.

        Returns:
            The file's content.

        Raises:
            ExportError: An operation has no version of this kind in TFLite.
        """
        from oekd_tf.core.native_output import quiet_native_output
        from oekd_tf.device.tflite_model import TfliteModel
        from oekd_tf.export.formats.parts import mixed_precision as precision
        from oekd_tf.export.formats.parts import tflite_contents as contents

        calibration = source.calibration_images
        assert calibration is not None, "The format is calibrated"
        held_out = source.validation_images
        held_out = calibration if held_out is None else held_out
        reference = TfliteModel(source.base)
        # The error must not leave the block, which would then show pages of native output.
        with quiet_native_output():
            try:
                debugger = _debugger(source)
            except Exception as caught:  # The converter raises classes of its own, not public ones.
                error: Exception | None = caught
            else:
                error = None
        if error is not None:
            raise ExportError(
                "A student must be one that TFLite's quantization debugger can convert. "
                f"Received: {source.student} to {self.name}, of which it says: {one_reason(error)}"
            ) from error

        def quantize(kept: Any) -> bytes:
            debugger.options.denylisted_nodes = list(kept)
            with quiet_native_output():
                return bytes(debugger.get_nondebug_quantized_model())

        wanted = reference.logits(held_out)

        def loss(content: bytes) -> float:
            return precision.expected_loss(wanted, TfliteModel(content).logits(held_out))

        whole = quantize(())
        in_int8 = loss(whole)
        facts: RescueFacts = {
            "expected_loss_int8": in_int8,
            "expected_loss": in_int8,
            "images": len(held_out),
            "layers": [],
        }
        if source.facts is not None:
            source.facts["rescue"] = facts
        if in_int8 <= _MAX_LOSS:
            return whole
        operations = contents.operations(debugger.calibrated_model)
        layers = [precision.Layer(one.output, one.weights) for one in operations]
        few = np.asarray(calibration[:_IMAGES_A_LAYER])
        errors = precision.layer_errors(
            layers, quantize, lambda content: TfliteModel(content).logits(few),
            reference.logits(few),
        )  # fmt: skip
        most = int(_MAX_GROWTH * len(whole))
        order = precision.by_gain(layers, errors, most - len(whole))
        choice = precision.choose(order, layers, quantize, loss, most, _MAX_LOSS)
        facts["expected_loss"] = choice.loss
        facts["layers"] = [
            {
                "name": _name(one, source.student),
                "weights": one.weights,
                "error": errors[one.output],
                "kept": one.output in choice.kept,
            }
            for one in operations
        ]
        return choice.content


def _debugger(source: Source) -> Any:
    import tensorflow as tf

    from oekd_tf.export.formats.parts.signature import SIGNATURE

    assert source.calibration_images is not None
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(source.folder), signature_keys=[SIGNATURE]
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = batches(
        source.calibration_images, source.calibration_batch_size
    )
    return tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_options=tf.lite.experimental.QuantizationDebugOptions()
    )


def _name(operation: "Operation", student: str) -> str:
    """Names of layers; the last operation gives the network's output, which has none of them."""
    from oekd_tf.export.formats.parts.tflite_contents import layer_name

    name = layer_name(operation.output, student)
    return name if name != operation.output else layer_name(";".join(operation.constants), student)
