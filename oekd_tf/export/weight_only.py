"""Weights of four bits in a TFLite file, with ai-edge-quantizer."""

import contextlib
import io

from oekd_tf.export.errors import ExportError


def quantize_weights_to_int4(model: bytes, name: str) -> bytes:
    """A float32 TFLite file with its weights in int4, expanded to float32 when it runs.

    Args:
        model: Content of the float32 file.
        name: Of the student, for errors.

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
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            result = quantizer.Quantizer(
                bytearray(model), recipe.weight_only_wi4_afp32()
            ).quantize()
    except Exception as error:  # Of many classes, none documented.
        raise ExportError(
            f"ai-edge-quantizer must be able to quantize {name}'s weights. Received: {error}"
        ) from error
    return bytes(result.quantized_model)
