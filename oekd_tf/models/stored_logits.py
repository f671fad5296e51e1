"""Labels that come with a teacher's stored logits."""

from collections.abc import Mapping
from typing import Any

from oekd_tf.core.errors import format_value
from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts.method import Method

LABELS, LOGITS = "labels", "teacher_logits"


def split_labels(given: Any) -> tuple[Tensor | None, Tensor | None]:
    """Labels and stored logits.

    Args:
        given: Labels, or a dict of "labels" and "teacher_logits", (batch, classes).

    Returns:
        Both; None for logits that are not there.

    Raises:
        ValueError: The dict has other keys.
    """
    if not isinstance(given, Mapping):
        return given, None
    if set(given) != {LABELS, LOGITS}:
        raise ValueError(
            f"Labels must be an array, or a dict of {LABELS!r} and {LOGITS!r}. "
            f"Received: a dict of {format_value(sorted(given))}"
        )
    return given[LABELS], given[LOGITS]


def check_logits(logits: Tensor, num_classes: int, method: Method) -> None:
    """Raises a ValueError unless stored logits are of the ensemble's classes, and followed.

    Args:
        logits: The stored logits.
        num_classes: Number of classes of the ensemble.
        method: Its method.
    """
    if not method.is_stored:
        raise ValueError(
            f"The method must be OEKD(teacher='stored') for labels with {LOGITS}. "
            f"Received: {method.name}"
        )
    shape = tuple(logits.shape)
    if len(shape) != 2 or shape[-1] != num_classes:
        raise ValueError(f"{LOGITS} must be of shape (batch, {num_classes}). Received: {shape}")
