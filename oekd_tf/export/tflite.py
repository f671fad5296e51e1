"""Converts a student to TFLite."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from oekd_tf.export.errors import ExportError
from oekd_tf.export.saved_model import SIGNATURE
from oekd_tf.quiet import quiet_native_output


def convert_float32(source: str | Path, name: str) -> bytes:
    """A TFLite file of batch 1 with float32 input, raw pixels, and float32 logits.

    Args:
        source: What `write_converter_input` wrote.
        name: Of the student, for errors.

    Returns:
        The file's content; TFLite's own operations only.

    Raises:
        ExportError: An operation is not one of TFLite's own.
    """
    converter = _converter(source)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return _convert(converter, f"{name} to float32")


def convert_int8(source: str | Path, name: str, calibration_images: np.ndarray) -> bytes:
    """A TFLite file of batch 1 with weights, activations, input and output in int8.

    The input is pixel − 128; scale and zero point of the output are in the file.

    Args:
        source: What `write_converter_input` wrote.
        name: Of the student, for errors.
        calibration_images: Training images, (images, height, width, channels), that the ranges
            of activations are measured on.

    Returns:
        The file's content; TFLite's own int8 operations only.

    Raises:
        ExportError: An operation has no int8 version.
    """

    def representative() -> Iterator[dict[str, np.ndarray]]:
        for image in calibration_images:
            yield {"images": image[None].astype(np.float32)}

    converter = _converter(source)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    converter.representative_dataset = representative
    return _convert(converter, f"{name} to int8")


def _converter(source: str | Path) -> tf.lite.TFLiteConverter:
    return tf.lite.TFLiteConverter.from_saved_model(str(source), signature_keys=[SIGNATURE])


def _convert(converter: tf.lite.TFLiteConverter, what: str) -> bytes:
    try:
        with quiet_native_output():
            return converter.convert()
    except Exception as error:  # The converter raises classes of its own, not public ones.
        raise ExportError(
            "Every operation of a student must be one of TFLite's own to be converted. "
            f"Received: {what}, of which the converter says: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = (line for line in lines if "error" in line.lower() or "Ops:" in line)
    return next(telling, lines[0] if lines else type(error).__name__)[:300]
