"""Untrained students, for the size and the latency of their files."""

import tempfile
from collections.abc import Sequence

import keras
import numpy as np

from oekd_tf.backbones.backbone import Backbone
from oekd_tf.export import formats
from oekd_tf.export.formats.parts.tflite import TfliteKind
from oekd_tf.models.branches import build_branches


def probe_student(
    backbone: Backbone, input_shape: Sequence[int], num_classes: int, width: float
) -> keras.Model:
    """A student alone, for its size: untrained, with a normalization like that of real images.

    Args:
        backbone: Network family.
        input_shape: Shape of an image, (height, width, channels).
        num_classes: Number of classes.
        width: Width of the student.

    Returns:
        Functional model from raw images to logits.

    Example:
        >>> int8_bytes(probe_student(oekd_tf.backbones.CifarResNet(8), (28, 28, 1), 10, 0.5))
    """
    channels = range(input_shape[-1])
    # With mean 0 and deviation 1 the converter would leave the normalization out, and the file
    # would lack some 700 bytes that a trained student's has.
    mean, std = [120.0 + channel for channel in channels], [60.0 + channel for channel in channels]
    built = build_branches(backbone, input_shape, num_classes, [width], mean, std)
    return built.students[0]


def tflite_formats() -> tuple[str, ...]:
    """Names of the formats that a probe can be written as: TFLite, made of the student alone."""
    kinds = [(name, formats.kind(name)) for name in formats.names()]
    return tuple(n for n, k in kinds if isinstance(k, TfliteKind) and not k.derives_from)


def tflite_file(student: keras.Model, file_format: str, batch_size: int | None = 1) -> bytes:
    """An untrained student's TFLite file; the student's equal weights are overwritten.

    Args:
        student: Functional model from raw images to logits, with the normalization that it is
            exported with.
        file_format: One of `tflite_formats()`.
        batch_size: Batch size of the file, or None for any.

    Returns:
        The content of a file as large as that of a trained student, and as fast.

    Raises:
        ExportError: The student cannot be converted.

    Example:
        >>> len(tflite_file(ensemble.students[-1], "float32"))
    """
    from oekd_tf.export.formats.parts.signature import write_converter_input
    from oekd_tf.export.plain_student import plain_student

    # An untrained student's biases are all the same, and a file holds equal constants once: only
    # with weights that all differ is it as large as a trained student's. The values are small: in
    # a deep network larger ones overflow, and infinite ranges end the converter's process.
    rng = np.random.default_rng(0)
    student.set_weights(
        [w if np.ptp(w) else rng.uniform(0.1, 0.2, w.shape) for w in student.get_weights()]
    )
    kind = formats.kind(file_format)
    # Neither size nor latency depends on what the ranges are calibrated with.
    images = rng.integers(0, 256, (2, *student.input_shape[1:]), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        write_converter_input(plain_student(student), folder, batch_size)
        source = formats.Source(
            folder, student.name, calibration_images=images if kind.calibrated else None
        )
        return kind.convert(source)


def int8_bytes(student: keras.Model, batch_size: int | None = 1) -> int:
    """Size of a student's int8 TFLite file, whatever its weights; they are overwritten.

    Args:
        student: As for `tflite_file`.
        batch_size: Batch size of the file, or None for any.

    Returns:
        The size, in bytes.

    Raises:
        ExportError: The student cannot be converted.

    Example:
        >>> int8_bytes(ensemble.students[-1])
    """
    return len(tflite_file(student, "int8", batch_size))
