"""Converts a student to TFLite."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from oekd_tf.export.errors import ExportError
from oekd_tf.export.saved_model import SIGNATURE, write_converter_input
from oekd_tf.quiet import quiet_native_output


def convert_float32(student: keras.Model) -> bytes:
    """A TFLite file of batch 1 with float32 input, raw pixels, and float32 logits.

    Args:
        student: From `plain_student`.

    Returns:
        The file's content; TFLite's own operations only.

    Raises:
        ExportError: An operation is not one of TFLite's own.
    """
    return _convert(student, None)


def convert_int8(student: keras.Model, calibration_images: np.ndarray) -> bytes:
    """A TFLite file of batch 1 with weights, activations, input and output in int8.

    The input is pixel − 128; scale and zero point of the output are in the file.

    Args:
        student: From `plain_student`.
        calibration_images: Training images, (images, height, width, channels), that the ranges
            of activations are measured on.

    Returns:
        The file's content; TFLite's own int8 operations only.

    Raises:
        ExportError: An operation has no int8 version.
    """
    return _convert(student, calibration_images)


def _convert(student: keras.Model, calibration_images: np.ndarray | None) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write_converter_input(student, Path(folder) / "model")
        converter = tf.lite.TFLiteConverter.from_saved_model(
            f"{folder}/model", signature_keys=[SIGNATURE]
        )
        if calibration_images is None:
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        else:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.int8
            converter.inference_output_type = tf.int8

            def representative() -> Iterator[dict[str, np.ndarray]]:
                for image in calibration_images:
                    yield {"images": image[None].astype(np.float32)}

            converter.representative_dataset = representative
        try:
            with quiet_native_output():
                return converter.convert()
        except Exception as error:  # The converter raises classes of its own, not public ones.
            kind = "float32" if calibration_images is None else "int8"
            raise ExportError(
                f"Every operation of a student must be one of TFLite's own to be converted to "
                f"{kind}. Received: {student.name}, of which the converter says: "
                f"{_reason(error)}"
            ) from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = (line for line in lines if "error" in line.lower() or "Ops:" in line)
    return next(telling, lines[0] if lines else type(error).__name__)[:300]
