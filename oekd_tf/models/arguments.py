"""The rules of an ensemble's arguments."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from oekd_tf.backbones.backbone import Backbone
from oekd_tf.core.choices import are_widths
from oekd_tf.core.errors import format_value


def check_class_weight(class_weight: Any, num_classes: int) -> None:
    """Raises a ValueError unless Keras can weigh classes by it.

    Args:
        class_weight: Argument of `fit`: weights by class index, or None.
        num_classes: Number of classes.
    """
    if class_weight is None:
        return
    good = isinstance(class_weight, Mapping) and all(
        isinstance(index, int | np.integer) and 0 <= index < num_classes for index in class_weight
    )
    if not good:
        raise ValueError(
            f"class_weight must be a dict of weights by class index, 0 to {num_classes - 1}; "
            "oekd_tf.classes.balanced_weights gives balanced ones. "
            f"Received: {format_value(class_weight)}"
        )


def per_channel(value: float | Sequence[float], channels: int, name: str) -> tuple[float, ...]:
    """One finite number for each channel.

    Args:
        value: A number, or one for each channel.
        channels: Number of channels.
        name: Name of the argument, "mean" or "std", which must be above 0.

    Returns:
        The numbers.

    Raises:
        ValueError: There is another number of them, or one breaks its rule.
    """
    values = tuple(float(v) for v in (value if isinstance(value, Sequence) else [value]))
    if len(values) == 1:
        values *= channels
    valid = all(math.isfinite(v) and (name == "mean" or v > 0) for v in values)
    if len(values) != channels or not valid:
        positive = " above 0" if name == "std" else ""
        raise ValueError(
            f"{name} must be one finite number{positive}, or one for each of the {channels} "
            f"channels. Received: {value}"
        )
    return values


def check_labelled_images(model: Any, images: np.ndarray, labels: np.ndarray) -> None:
    """Checks what gradients with respect to images are taken of.

    Args:
        model: One network, from raw images to logits.
        images: Raw pixels from 0 to 255, (images, height, width, channels).
        labels: Class indices, (images,).

    Raises:
        ValueError: A rule above is broken.
    """
    if hasattr(model, "exported_models") or not hasattr(model, "output_shape"):
        raise ValueError(
            "model must be one network, such as ensemble.students[0]. "
            f"Received: {type(model).__name__}"
        )
    if np.ndim(images) != 4 or np.shape(labels) != np.shape(images)[:1] or not len(images):
        raise ValueError(
            "images must be (images, height, width, channels) and labels (images,), of at least "
            f"one image. Received: shapes {np.shape(images)} and {np.shape(labels)}"
        )
    sizes = zip(model.input_shape[1:], np.shape(images)[1:], strict=True)
    if not all(wanted in (None, size) for wanted, size in sizes):
        raise ValueError(
            f"images must be of shape {tuple(model.input_shape[1:])} each. "
            f"Received: {np.shape(images)[1:]}"
        )
    labels, classes = np.asarray(labels), model.output_shape[-1]
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be whole numbers. Received: {labels.dtype}")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels must be from 0 to {classes - 1}. Received: {labels.min()} to {labels.max()}"
        )
    if 0 < (largest := np.max(images)) <= 1 and not np.issubdtype(np.asarray(images).dtype, int):
        raise ValueError(f"images must be raw pixels from 0 to 255. Received: at most {largest}")


def per_class(
    values: Sequence[float] | None, num_classes: int, name: str
) -> tuple[float, ...] | None:
    """One finite number for each class.

    Args:
        values: A number for each class, or None.
        num_classes: Number of classes.
        name: Name of the argument, "class_weight", which may not be below 0, or another.

    Returns:
        The numbers; None for None.

    Raises:
        ValueError: There is another number of them, or one breaks its rule.
    """
    if values is None:
        return None
    found = tuple(float(value) for value in values)
    valid = all(math.isfinite(v) and (name != "class_weight" or v >= 0) for v in found)
    if len(found) != num_classes or not valid:
        least = ", none below 0" if name == "class_weight" else ""
        raise ValueError(
            f"{name} must be None or {num_classes} finite numbers, one a class{least}. "
            f"Received: {found}"
        )
    return found


def check_arguments(
    backbone: Backbone, input_shape: Sequence[int], num_classes: int, widths: tuple[float, ...]
) -> None:
    """Raises a ValueError at the first argument of an ensemble that breaks its rule."""
    if not (callable(getattr(backbone, "stem", None)) and hasattr(backbone, "branch")):
        raise ValueError(
            "backbone must have the methods stem(images) and branch(stem_output, width, name), "
            f"see oekd_tf.backbones.Backbone. Received: {backbone!r}"
        )
    if len(input_shape) != 3 or any(size is None or size < 1 for size in input_shape):
        raise ValueError(
            f"input_shape must be (height, width, channels). Received: {tuple(input_shape)}"
        )
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2. Received: {num_classes}")
    if not are_widths(widths):
        raise ValueError(
            "widths must start with 1 (the pseudo teacher) and fall from there, all above 0. "
            f"Received: {widths}"
        )
