"""Validation of images and labels given as arrays."""

import hashlib
from typing import Any

import numpy as np

from oekd_tf.core.labels import class_indices


def check_arrays(
    images: Any, labels: Any, num_classes: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Checks images and labels, and converts them to uint8 and int32.

    Args:
        images: Raw pixels from 0 to 255, (examples, height, width, channels), or without
            channels if grey.
        labels: Class indices, as `oekd_tf.core.labels.class_indices` takes them.
        num_classes: Number of classes; None if it is not known.

    Returns:
        Images in uint8, (examples, height, width, channels), and labels in int32, (examples,).

    Raises:
        ValueError: A rule is broken.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(
            "Images must be (examples, height, width, channels) and not empty. "
            f"Received: shape {images.shape}"
        )
    indices = class_indices(labels, num_classes)
    if len(indices) != len(images):
        raise ValueError(
            f"Labels must be one class index an image, of shape ({len(images)},). "
            f"Received: shape {labels.shape}"
        )
    return _as_uint8(images), indices


def array_fingerprint(images: np.ndarray, labels: np.ndarray) -> str:
    """A digest of images and labels, 32 hexadecimal digits."""
    digest = hashlib.blake2b(repr(images.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(labels).data)
    return digest.hexdigest()


def check_labels(labels: np.ndarray, class_names: list[str], split: str) -> None:
    """Raises a ValueError if a label of a split stands for no class."""
    class_indices(labels, len(class_names), f"Labels of {split}")


def check_no_empty_class(labels: np.ndarray, class_names: list[str]) -> None:
    """Raises a ValueError that names the classes without a training example."""
    counts = np.bincount(labels, minlength=len(class_names))
    empty = [class_names[index] for index in np.flatnonzero(counts == 0)]
    if empty == ["0"]:
        raise ValueError(
            f"Labels must begin at 0, each with a training example. Received: from {labels.min()} "
            f"to {labels.max()}"
        )
    if empty:
        raise ValueError(
            "Every class must have a training example. Received: none of "
            + ", ".join(empty[:10])
            + (f" and {len(empty) - 10} more" if len(empty) > 10 else "")
        )


def _as_uint8(images: np.ndarray) -> np.ndarray:
    if images.dtype == np.uint8:
        return images
    numeric = np.issubdtype(images.dtype, np.number)
    # Pixels within 0 and 1 were scaled, whatever their type.
    if not numeric or not np.isfinite(images).all() or images.min() < 0 or images.max() > 255:
        valid = False
    else:
        valid = images.max() > 1 and np.array_equal(images, np.round(images))
    if not valid:
        span = f", from {images.min()} to {images.max()}" if numeric else ""
        raise ValueError(
            "Images must be raw pixels, whole numbers from 0 to 255; normalisation is part of the "
            f"network. Received: {images.dtype}{span}"
        )
    return images.astype(np.uint8)
