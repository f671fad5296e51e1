"""A student as TFLite with weights of four bits, with ai-edge-quantizer."""

import contextlib
import io

from oekd_tf.core.errors import ExportError
from oekd_tf.export.formats.parts.base import Source
from oekd_tf.export.formats.parts.tflite import FLOAT_TYPES, TfliteKind


class WeightOnlyInt4(TfliteKind):
    """Int4 weights, which are expanded to float32 when the file runs."""

    order = 80
    file_name = "weight_only_int4.tflite"
    derives_from = "float32"
    tensor_types = (*FLOAT_TYPES, "int4")
    required_type = "int4"
    advice = "try int8 or dynamic, or a wider student"

    def convert(self, source: Source) -> bytes:
        """A float32 TFLite file with its weights in int4.

        Args:
            source: What to convert, with the float32 file.

        Returns:
            The file's content.

        Raises:
            ExportError: ai-edge-quantizer is not installed, or refuses the model.
        """
        try:
            from ai_edge_quantizer import quantizer, recipe
        except ImportError as error:
            raise ExportError(
                "weight_only_int4 needs the package ai-edge-quantizer (pip install "
                f"'oekd-tf[compression]'). Received: {error}"
            ) from error
        silent = io.StringIO()
        try:
            with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
                result = quantizer.Quantizer(
                    bytearray(source.base), recipe.weight_only_wi4_afp32()
                ).quantize()
        except Exception as error:  # Of many classes, none documented.
            raise ExportError(
                f"ai-edge-quantizer must be able to quantize {source.student}'s weights. "
                f"Received: {error}"
            ) from error
        return bytes(result.quantized_model)
