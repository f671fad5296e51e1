"""Class labels and probabilities from logits."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from oekd_tf.core.json_files import read_file


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A class and its predicted probability.

    Attributes:
        label: Name of the class.
        index: Class index, from 0.
        probability: Probability, from 0 to 1.
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
        logits: Logits, (classes,).
        labels: Names of the classes.
        count: Number of classes to return; all if there are fewer.

    Returns:
        Predictions by falling probability, then by rising index.
    """
    shares = probabilities(logits)
    order = np.argsort(-shares, kind="stable")[:count]
    return [Prediction(labels[index], int(index), float(shares[index])) for index in order]


def read_labels(path: str | Path | None, beside: Path, classes: int) -> list[str]:
    """Reads the names of the classes.

    Args:
        path: Path of a file with one name per line; `labels.txt` beside the model if None, or
            numbers if that does not exist.
        beside: Path of the model.
        classes: Number of classes.

    Returns:
        The names.

    Raises:
        ValueError: The number of names is wrong.
        OSError: The file at `path` cannot be read.
    """
    found = Path(path) if path else beside.parent / "labels.txt"
    if not path and not found.exists():
        return [str(index) for index in range(classes)]
    try:
        # With a byte order mark in front, as some editors write it, or without.
        lines = read_file(found).decode("utf-8-sig").split("\n")
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise ValueError(f"{found} must be text in UTF-8. Received: {error}") from None
    labels = [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]
    if len(labels) != classes:
        raise ValueError(
            f"{found} must have one label a line for each of {classes} classes. "
            f"Received: {len(labels)} lines"
        )
    return labels
