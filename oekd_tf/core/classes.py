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


def _checked(counts: Sequence[int] | np.ndarray, what: str) -> np.ndarray:
    numbers = np.asarray(counts, np.float64)
    empty = np.flatnonzero(numbers <= 0)
    if len(empty):
        raise ValueError(
            f"{what} must be off unless every class has a training example. "
            f"Received: none of class {', '.join(map(str, empty[:10]))}"
        )
    return numbers
