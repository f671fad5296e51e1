"""The validation split, a function of the seed alone."""

import numpy as np


def hold_out(
    count: int,
    labels: np.ndarray | None,
    fraction: float,
    seed: int,
    max_examples: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Splits examples into training and validation, decided by the seed alone.

    Args:
        count: Number of examples.
        labels: Class index of each example, (count,), for a stratified split; None if labels are
            not in memory.
        fraction: Share of examples that is held out, at least 0 and below 1.
        seed: Random seed of the split and of the choice of `max_examples`.
        max_examples: Number of training examples to keep; all if None.

    Returns:
        Indices of the training and of the validation examples, disjoint.

    Example:
        >>> train, validation = hold_out(4, np.array([0, 0, 1, 1]), 0.5, seed=0)
    """
    order = np.random.default_rng(seed).permutation(count)
    if labels is None:
        held_out = order[: round(fraction * count)]
    else:
        ordered = labels[order]
        classes = (order[ordered == label] for label in np.unique(ordered))
        parts = [members[: round(fraction * len(members))] for members in classes]
        held_out = np.concatenate(parts)
    train = order[~np.isin(order, held_out)]
    if max_examples is not None:
        # From the end, because the start of the order is no random sample any more: examples there
        # were held out class by class.
        train = train[-max_examples:]
    return train, held_out
