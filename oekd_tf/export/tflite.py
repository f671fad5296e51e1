"""Converts a student to TFLite."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from oekd_tf.export.errors import ExportError
from oekd_tf.export.saved_model import SIGNATURE
from oekd_tf.quiet import quiet_native_output


def convert(
    kind: str,
    source: str | Path,
    name: str,
    calibration_images: np.ndarray | None = None,
    calibration_batch_size: int = 1,
) -> bytes:
    """A student as the content of a TFLite file, of TFLite's own operations only.

    Args:
        kind: "float32"; "float16" (weights); "dynamic" (int8 weights, float activations); "int8"
            (throughout, int8 in and out: the input is pixel − 128); "uint8" (the same, with the
            pixels themselves as input, and uint8 out); "int16x8" (int8 weights, int16
            activations, input and output).
        source: What `write_converter_input` wrote.
        name: Of the student, for errors.
        calibration_images: Training images, (images, height, width, channels), raw, that the
            ranges of activations are measured on; None where the student knows them, having been
            trained in int8.
        calibration_batch_size: Images at a time; 1 unless the source's batch is free.

    Returns:
        The file's content.

    Raises:
        ExportError: An operation has no version of this kind in TFLite.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(str(source), signature_keys=[SIGNATURE])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind in ("int8", "uint8"):
        if calibration_images is not None:
            # A student that was trained in int8 has its ranges in its graph, which this rejects.
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(kind)
    if kind == "int16x8":
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
        converter.inference_input_type = converter.inference_output_type = tf.int16
    if calibration_images is not None:
        converter.representative_dataset = _batches(calibration_images, calibration_batch_size)
    # The error must not leave the block, which would then show pages of native output.
    with quiet_native_output():
        try:
            return converter.convert()
        except Exception as caught:  # The converter raises classes of its own, not public ones.
            error = caught
    raise ExportError(
        "Every operation of a student must be one of TFLite's own to be converted. "
        f"Received: {name} to {kind}, of which the converter says: {_reason(error)}"
    ) from error


def _batches(images: np.ndarray, size: int) -> Callable[[], Iterator[dict[str, np.ndarray]]]:
    def batches() -> Iterator[dict[str, np.ndarray]]:
        # A last batch of another size would make the calibrator allocate all tensors anew.
        for start in range(0, len(images) - len(images) % size or len(images), size):
            yield {"images": images[start : start + size].astype(np.float32)}

    return batches


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = (line for line in lines if "error" in line.lower() or "Ops:" in line)
    return next(telling, lines[0] if lines else type(error).__name__)[:300]
