"""Metrics from logits: accuracy, NLL, calibration, agreement."""

import dataclasses

import numpy as np

from oekd_tf.core import classes
from oekd_tf.device.predictions import probabilities

BINS = 15


@dataclasses.dataclass(frozen=True)
class Bin:
    """Images whose top probability lies in one interval.

    Attributes:
        count: Number of images.
        confidence: Mean of their top probabilities; 0 if there are none.
        accuracy: Share of images that are classified correctly; 0 if there are none.
    """

    count: int
    confidence: float
    accuracy: float


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose top class is the label.

    Args:
        logits: Logits, (images, classes).
        labels: Class indices, (images,).

    Returns:
        The accuracy, from 0 to 1.

    Raises:
        ValueError: The arrays do not belong together.
    """
    logits, labels = _checked(logits, labels)
    return float((logits.argmax(-1) == labels).mean())


def balanced_accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes of the share of a class's images whose top class it is.

    Args:
        logits: Logits, (images, classes).
        labels: Class indices, (images,).

    Returns:
        The mean over the classes that have images, from 0 to 1.

    Raises:
        ValueError: The arrays do not belong together.

    Example:
        >>> balanced_accuracy([[1.0, 0.0]] * 4, [0, 0, 0, 1])
        0.5
    """
    return classes.balanced_accuracy(_recalls(logits, labels))


def worst_recall(logits: np.ndarray, labels: np.ndarray) -> float:
    """Lowest share of a class's images whose top class it is.

    Args:
        logits: Logits, (images, classes).
        labels: Class indices, (images,).

    Returns:
        The least over the classes that have images, from 0 to 1.

    Raises:
        ValueError: The arrays do not belong together.

    Example:
        >>> worst_recall([[1.0, 0.0]] * 4, [0, 0, 0, 1])
        0.0
    """
    return min(one for one in _recalls(logits, labels) if one is not None)


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood of the labels.

    Args:
        logits: Logits, (images, classes).
        labels: Class indices, (images,).

    Returns:
        The mean, in nats; 0 for a classifier that is always sure and correct.

    Raises:
        ValueError: The arrays do not belong together.

    Example:
        >>> round(negative_log_likelihood([[0.0, 0.0]], [1]), 4)
        0.6931
    """
    logits, labels = _checked(logits, labels)
    # From the logits: a probability that rounds to 0 has no logarithm.
    shifted = logits - logits.max(-1, keepdims=True)
    totals = np.log(np.exp(shifted).sum(-1))
    return float((totals - shifted[np.arange(len(labels)), labels]).mean())


def brier_score(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared distance between predicted probabilities and the label, over all classes.

    Args:
        logits: Logits, (images, classes).
        labels: Class indices, (images,).

    Returns:
        The mean of Σ_c (p_c − y_c)², from 0 to 2.

    Raises:
        ValueError: The arrays do not belong together.

    Example:
        >>> brier_score([[0.0, 0.0]], [1])
        0.5

    Reference:
        Brier, "Verification of Forecasts Expressed in Terms of Probability", Monthly Weather
        Review 78, 1950.
    """
    logits, labels = _checked(logits, labels)
    distances = probabilities(logits)
    distances[np.arange(len(labels)), labels] -= 1
    return float((distances**2).sum(-1).mean())


def reliability(logits: np.ndarray, labels: np.ndarray, bins: int = BINS) -> list[Bin]:
    """Accuracy and confidence of the images in each interval of the top probability.

    Args:
        logits: Logits, (images, classes).
        labels: Class indices, (images,).
        bins: Number M of intervals ((m − 1) / M, m / M], all of the same length.

    Returns:
        One bin for each interval, by rising probability.

    Raises:
        ValueError: The arrays do not belong together, or there are no bins.

    Reference:
        Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017,
        arXiv 1706.04599, section 2.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1. Received: {bins}")
    logits, labels = _checked(logits, labels)
    shares = probabilities(logits)
    confidences, right = shares.max(-1), shares.argmax(-1) == labels
    edges = np.arange(1, bins) / bins
    members = np.searchsorted(edges, confidences, side="left")
    found = []
    for index in range(bins):
        member = members == index
        count = int(member.sum())
        confidence = float(confidences[member].mean()) if count else 0.0
        found.append(Bin(count, confidence, float(right[member].mean()) if count else 0.0))
    return found


def expected_calibration_error(logits: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Mean distance between confidence and accuracy over bins, weighted by their images.

    Args:
        logits: Logits, (images, classes).
        labels: Class indices, (images,).
        bins: Number of bins, as in `reliability`.

    Returns:
        The error, from 0 to 1; 0 where confidence and accuracy agree in every bin.

    Raises:
        ValueError: A rule of `reliability` is broken.

    Example:
        >>> expected_calibration_error([[0.0, 0.0], [0.0, 0.0]], [0, 1])
        0.0

    Reference:
        Guo et al., arXiv 1706.04599, equation 3.
    """
    found = reliability(logits, labels, bins)
    total = sum(one.count for one in found)
    return sum(one.count / total * abs(one.accuracy - one.confidence) for one in found)


def agreement(logits: np.ndarray, others: np.ndarray) -> float:
    """Share of images on which two classifiers have the same top class, right or wrong.

    Args:
        logits: Logits of one classifier, (images, classes).
        others: Logits of the other classifier, (images, classes).

    Returns:
        The share, from 0 to 1.

    Raises:
        ValueError: The arrays do not belong together.
    """
    logits, others = np.asarray(logits), np.asarray(others)
    if logits.ndim != 2 or logits.shape != others.shape or not len(logits):
        raise ValueError(
            "Two classifiers' logits must both be (images, classes) of the same images. "
            f"Received: shapes {logits.shape} and {others.shape}"
        )
    return float((logits.argmax(-1) == others.argmax(-1)).mean())


def _recalls(logits: np.ndarray, labels: np.ndarray) -> list[float | None]:
    logits, labels = _checked(logits, labels)
    return classes.recall(classes.confusion(logits.argmax(-1), labels, logits.shape[1]))


def _checked(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(
            "logits must be (images, classes) and labels (images,), of at least one image. "
            f"Received: shapes {logits.shape} and {labels.shape}"
        )
    if not (labels.min() >= 0 and labels.max() < logits.shape[1]):
        raise ValueError(
            f"labels must be from 0 to {logits.shape[1] - 1}. "
            f"Received: {labels.min()} to {labels.max()}"
        )
    return logits, labels
