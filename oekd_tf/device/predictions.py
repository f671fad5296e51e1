"""From logits to labels and probabilities."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One class and how probable a network holds it.

    Attributes:
        label: The class's name.
        index: Its number, from 0.
        probability: Of 1.
    """

    label: str
    index: int
    probability: float


def probabilities(logits: np.ndarray) -> np.ndarray:
    """The softmax of logits over the last axis, in float64.

    Example:
        >>> probabilities(np.array([0.0, 0.0]))
        array([0.5, 0.5])
    """
    logits = np.asarray(logits, np.float64)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def top_predictions(logits: np.ndarray, labels: Sequence[str], count: int) -> list[Prediction]:
    """The most probable classes of one image.

    Args:
        logits: (classes,).
        labels: The classes' names.
        count: How many; all if there are fewer.

    Returns:
        By falling probability; of equally probable ones the one of the lower number first.
    """
    shares = probabilities(logits)
    order = np.argsort(-shares, kind="stable")[:count]
    return [Prediction(labels[index], int(index), float(shares[index])) for index in order]


def read_labels(path: str | Path | None, beside: Path, classes: int) -> list[str]:
    """The classes' names.

    Args:
        path: A file of one name a line; `labels.txt` beside the model if None, and numbers if
            that is not there.
        beside: The model's path.
        classes: How many there must be.

    Returns:
        The names.

    Raises:
        ValueError: Their number is wrong.
        OSError: The file that is named cannot be read.
    """
    found = Path(path) if path else beside.parent / "labels.txt"
    if not path and not found.exists():
        return [str(index) for index in range(classes)]
    labels = found.read_text().splitlines()
    if len(labels) != classes:
        raise ValueError(
            f"{found} must have one label a line for each of {classes} classes. "
            f"Received: {len(labels)} lines"
        )
    return labels
