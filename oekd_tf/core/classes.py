"""Numbers of classes: weights, priors, recall, confusion; NumPy only."""

from collections.abc import Sequence

import numpy as np


def balanced_weights(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """A weight for each class under which all classes count the same.

    Args:
        counts: Number of training examples of each class, n_c.

    Returns:
        n / (C n_c): the mean over the training examples is 1.

    Raises:
        ValueError: A class has no example.

    Example:
        >>> balanced_weights([1, 3])  # [2.0, 0.6667]
    """
    numbers = _checked(counts, "class_weight")
    return numbers.sum() / (len(numbers) * numbers)


def logit_adjustment(counts: Sequence[int] | np.ndarray, tau: float = 1.0) -> np.ndarray:
    """What is added to the logits in the label loss, so that rare classes are not given up.

    Args:
        counts: Number of training examples of each class.
        tau: Strength τ; 1 makes the loss consistent with the balanced error.

    Returns:
        τ log π_c with the shares π_c of the classes, one number a class.

    Raises:
        ValueError: A class has no example.

    Example:
        >>> logit_adjustment([1, 3])  # [-1.3863, -0.2877]

    Reference:
        Menon et al., "Long-tail learning via logit adjustment", arXiv 2007.07314, equation 10.
    """
    numbers = _checked(counts, "logit_adjustment")
    return tau * np.log(numbers / numbers.sum())


def confusion(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """How often images of each class were taken for each class.

    Args:
        predicted: Predicted class indices, (images,).
        labels: Class indices, (images,).
        num_classes: Number of classes.

    Returns:
        Numbers of images, (classes, classes): a row for each label, a column for each prediction.

    Example:
        >>> confusion(np.array([0, 1, 1]), np.array([0, 0, 1]), 2)  # [[1, 1], [0, 1]]
    """
    pairs = np.asarray(labels, np.int64) * num_classes + np.asarray(predicted, np.int64)
    counts = np.bincount(pairs, minlength=num_classes * num_classes)
    return counts.reshape(num_classes, num_classes)


def recall(matrix: np.ndarray) -> list[float | None]:
    """Share of each class's images that are taken for it.

    Args:
        matrix: A matrix of `confusion`.

    Returns:
        Shares from 0 to 1; None for a class without an image.
    """
    totals = matrix.sum(axis=1)
    hits = np.diag(matrix)
    return [float(hit / total) if total else None for hit, total in zip(hits, totals, strict=True)]


def balanced_accuracy(recalls: Sequence[float | None]) -> float:
    """Mean recall of the classes that have images.

    Args:
        recalls: Recall of each class, from `recall`.

    Example:
        >>> balanced_accuracy([1.0, 0.5, None])
        0.75
    """
    return float(np.mean([one for one in recalls if one is not None]))


def worst_class(recalls: Sequence[float | None]) -> int:
    """Index of the class of the lowest recall, the first of several."""
    return worst_classes(recalls)[0]


def worst_classes(recalls: Sequence[float | None]) -> list[int]:
    """Indices of the classes that have images, by rising recall."""
    there = [(one, index) for index, one in enumerate(recalls) if one is not None]
    return [index for _, index in sorted(there)]


def _checked(counts: Sequence[int] | np.ndarray, what: str) -> np.ndarray:
    numbers = np.asarray(counts, np.float64)
    empty = np.flatnonzero(numbers <= 0)
    if len(empty):
        raise ValueError(
            f"{what} must be off unless every class has a training example. "
            f"Received: none of class {', '.join(map(str, empty[:10]))}"
        )
    return numbers
