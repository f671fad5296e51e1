"""Training examples left out by class: a long tail, or few of each."""

import numpy as np


def thinned(
    train: np.ndarray, labels: np.ndarray, imbalance: float = 1.0, per_class: int | None = None
) -> np.ndarray:
    """Leaves out training examples so that classes have as many as is wanted.

    Of C classes, class c, from 0, keeps n ρ^(−c / (C − 1)) examples, at least one, where n is the
    number of the class that has most, or `per_class`; a class that has fewer keeps all. What a
    larger ρ keeps is a part of what a smaller one does.

    Args:
        train: Indices of training examples in random order; those in front of each class are kept.
        labels: Class index of each example, by its index.
        imbalance: ρ, how many times as many the first class has as the last, at least 1.
        per_class: Most examples of a class; all if None.

    Returns:
        The indices that are kept, in their order.

    Raises:
        ValueError: A rule is broken.

    Example:
        >>> thinned(np.arange(8), np.array([0, 0, 0, 0, 1, 1, 1, 1]), imbalance=4.0)
        array([0, 1, 2, 3, 4])

    Reference:
        Cui, Jia, Lin, Song, Belongie, "Class-Balanced Loss Based on Effective Number of Samples",
        CVPR 2019, arXiv 1901.05555: the exponential profile of long-tailed CIFAR.
    """
    if not 1 <= imbalance <= 1e9:
        raise ValueError(f"imbalance must be at least 1. Received: {imbalance}")
    if per_class is not None and per_class < 1:
        raise ValueError(f"examples_per_class must be at least 1, or None. Received: {per_class}")
    own = labels[train]
    classes = int(labels.max()) + 1
    most = int(np.unique(own, return_counts=True)[1].max()) if per_class is None else per_class
    kept = np.zeros(len(train), bool)
    for number in range(classes):
        share = imbalance ** (-number / max(classes - 1, 1))
        wanted = max(round(most * share), 1)
        kept[np.flatnonzero(own == number)[:wanted]] = True
    return train[kept]
