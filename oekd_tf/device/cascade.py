"""Cascades of two students: the larger runs only where the smaller is not confident."""

from typing import NamedTuple

import numpy as np

from oekd_tf.device.predictions import probabilities

# Above any probability: the larger student runs on every image.
ALWAYS_ASK = 2.0


class Operation(NamedTuple):
    """Operating point of a cascade on some images.

    Attributes:
        threshold: The larger student runs where the smaller's top probability is below it.
        accuracy: Accuracy, from 0 to 1.
        mean_cost: Mean cost per image, in the unit of the students' costs.
        share_asked: Share of images on which the larger student ran.
    """

    threshold: float
    accuracy: float
    mean_cost: float
    share_asked: float


class PairedDrop(NamedTuple):
    """By how much a cascade is less accurate than the larger student on the same images.

    Attributes:
        lost: Number of images that the larger student has right and the cascade wrong.
        won: Number of images that the cascade has right and the larger student wrong.
        drop: (lost - won) / images, from -1 to 1.
        low: Lower end of the drop's confidence interval.
        high: Upper end of the interval.
    """

    lost: int
    won: int
    drop: float
    low: float
    high: float


def paired_drop(
    threshold: float,
    small_logits: np.ndarray,
    large_logits: np.ndarray,
    labels: np.ndarray,
    confidence: float = 0.95,
) -> PairedDrop:
    """The drop of a cascade's accuracy, with an interval over the choice of images.

    Numbers of lost and of won images are binomial; the interval is from the ends of Clopper and
    Pearson's exact intervals of both, each at half the remaining error. Needs SciPy.

    Args:
        threshold: The larger student runs where the smaller's top probability is below it.
        small_logits: Logits of the smaller student, (images, classes).
        large_logits: Logits of the larger student, (images, classes).
        labels: Class indices, (images,), of images on which nothing was chosen.
        confidence: Confidence level of the interval, between 0 and 1.

    Returns:
        Counts, drop and interval.

    Raises:
        ValueError: The arrays do not belong together.

    Example:
        >>> drop = paired_drop(0.8, small_logits, large_logits, labels)
        >>> drop.low <= drop.drop <= drop.high
        True
    """
    from scipy.stats import beta

    small_logits, large_logits, labels = _checked(small_logits, large_logits, labels)
    asked = probabilities(small_logits).max(-1) < threshold
    large_right = large_logits.argmax(-1) == labels
    right = np.where(asked, large_right, small_logits.argmax(-1) == labels)
    lost, won = int((large_right & ~right).sum()), int((right & ~large_right).sum())
    count = len(labels)
    tail = (1 - confidence) / 4

    def ends(found: int) -> tuple[float, float]:
        low = float(beta.ppf(tail, found, count - found + 1)) if found else 0.0
        high = float(beta.ppf(1 - tail, found + 1, count - found)) if found < count else 1.0
        return low, high

    (least_lost, most_lost), (least_won, most_won) = ends(lost), ends(won)
    low, high = least_lost - most_won, most_lost - least_won
    return PairedDrop(lost, won, (lost - won) / count, low, high)


def evaluate_cascade(
    threshold: float,
    small_logits: np.ndarray,
    large_logits: np.ndarray,
    labels: np.ndarray,
    small_cost: float,
    large_cost: float,
) -> Operation:
    """Evaluates a cascade at one threshold.

    Args:
        threshold: The larger student runs where the smaller's top probability is below it.
        small_logits: Logits of the smaller student, (images, classes).
        large_logits: Logits of the larger student, (images, classes).
        labels: Class indices, (images,).
        small_cost: Cost of the smaller student per image.
        large_cost: Cost of the larger student per image; where it runs, an image costs both.

    Returns:
        The operating point.

    Raises:
        ValueError: The arrays do not belong together.

    Example:
        >>> evaluate_cascade(0.8, small_logits, large_logits, labels, 1.5e6, 18.7e6).accuracy
    """
    small_logits, large_logits, labels = _checked(small_logits, large_logits, labels)
    asked = probabilities(small_logits).max(-1) < threshold
    answers = np.where(asked, large_logits.argmax(-1), small_logits.argmax(-1))
    share = float(asked.mean())
    accuracy = float((answers == labels).mean())
    return Operation(float(threshold), accuracy, small_cost + share * large_cost, share)


def curve(
    small_logits: np.ndarray,
    large_logits: np.ndarray,
    labels: np.ndarray,
    small_cost: float,
    large_cost: float,
) -> list[Operation]:
    """All distinct operating points of a cascade, the cheapest first.

    The first never runs the larger student, the last always does; the other thresholds lie halfway
    between two of the smaller student's top probabilities.

    Args:
        small_logits: Logits of the smaller student, (images, classes).
        large_logits: Logits of the larger student, (images, classes).
        labels: Class indices, (images,).
        small_cost: Cost of the smaller student per image.
        large_cost: Cost of the larger student per image.

    Returns:
        Operating points by rising threshold, and so by rising cost.
    """
    small_logits, large_logits, labels = _checked(small_logits, large_logits, labels)
    sure = probabilities(small_logits).max(-1)
    order = np.argsort(sure, kind="stable")
    sure, labels = sure[order], labels[order]
    small_right = small_logits[order].argmax(-1) == labels
    large_right = large_logits[order].argmax(-1) == labels
    count = len(labels)
    # At each threshold the `asked` least confident images go to the larger student.
    asked = np.array([0, *(np.flatnonzero(np.diff(sure)) + 1), count])
    gained = np.concatenate([[0], np.cumsum(large_right.astype(int) - small_right.astype(int))])
    right = small_right.sum() + gained[asked]
    between = asked[1:-1]
    # Rounding may put the middle of two neighbours on the lower one, which would not be asked.
    halfway = np.maximum(
        (sure[between - 1] + sure[between]) / 2, np.nextafter(sure[between - 1], 2)
    )
    thresholds = [0.0, *halfway, ALWAYS_ASK]
    return [
        Operation(float(threshold), int(r) / count, small_cost + a / count * large_cost, a / count)
        for threshold, r, a in zip(thresholds, right, asked.tolist(), strict=True)
    ]


def choose_threshold(
    small_logits: np.ndarray,
    large_logits: np.ndarray,
    labels: np.ndarray,
    small_cost: float,
    large_cost: float,
    max_accuracy_drop: float = 0.0,
) -> Operation:
    """The cheapest threshold at which a cascade is nearly as accurate as the larger student.

    Choose it on validation data: the accuracy on the images it was chosen on is optimistic.

    Args:
        small_logits: Logits of the smaller student, (images, classes).
        large_logits: Logits of the larger student, (images, classes).
        labels: Class indices, (images,).
        small_cost: Cost of the smaller student per image.
        large_cost: Cost of the larger student per image.
        max_accuracy_drop: Largest difference by which the accuracy may be below the larger
            student's, from 0 to 1.

    Returns:
        The operating point on these images. There always is one: a cascade that always runs the
        larger student is as accurate.

    Example:
        >>> choose_threshold(small_logits, large_logits, labels, 1.5e6, 18.7e6, 0.005).threshold
    """
    if not 0 <= max_accuracy_drop <= 1:
        raise ValueError(f"max_accuracy_drop must be from 0 to 1. Received: {max_accuracy_drop}")
    operations = curve(small_logits, large_logits, labels, small_cost, large_cost)
    # Accuracies are counts over a number of images: what is above rounding is a whole image.
    least = operations[-1].accuracy - max_accuracy_drop - 1e-9
    return next(operation for operation in operations if operation.accuracy >= least)


def _checked(
    small_logits: np.ndarray, large_logits: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    small_logits, large_logits = np.asarray(small_logits), np.asarray(large_logits)
    labels = np.asarray(labels)
    shapes = small_logits.shape, large_logits.shape, labels.shape
    if (
        len(shapes[0]) != 2
        or not len(labels)
        or shapes[0] != shapes[1]
        or shapes[2] != shapes[0][:1]
    ):
        raise ValueError(
            "Both students' logits must be (images, classes) and labels (images,), not empty. "
            f"Received: {shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    return small_logits, large_logits, labels
