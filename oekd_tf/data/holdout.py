"""The validation split, a function of the seed alone."""

import numpy as np


def hold_out(
    count: int,
    labels: np.ndarray | None,
    fraction: float,
    seed: int,
    max_examples: int | None = None,
    groups: np.ndarray | None = None,
    groups_needed: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Splits examples into training and validation, decided by the seed alone.

    Args:
        count: Number of examples.
        labels: Class index of each example, (count,), for a stratified split; None if labels are
            not in memory.
        fraction: Share of examples that is held out, at least 0 and below 1.
        seed: Random seed of the split and of the choice of `max_examples`.
        max_examples: Number of training examples to keep; all if None.
        groups: Number of each example's group, (count,), such as a track, a patient or a device;
            a group is held out as a whole or not at all. None if each example is its own.
        groups_needed: Whether that none can be held out is an error, rather than no split.

    Returns:
        Indices of the training and of the validation examples, disjoint.

    Raises:
        ValueError: No group can be held out.

    Example:
        >>> train, validation = hold_out(4, np.array([0, 0, 1, 1]), 0.5, seed=0)
    """
    order = np.random.default_rng(seed).permutation(count)
    if groups is not None and fraction:
        held_out = _whole_groups(order, labels, groups, fraction, groups_needed)
    elif labels is None:
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


def _whole_groups(
    order: np.ndarray,
    labels: np.ndarray | None,
    groups: np.ndarray,
    fraction: float,
    needed: bool,
) -> np.ndarray:
    """Takes groups in random order as long as that brings each class nearer to its share."""
    labels = np.zeros(len(groups), int) if labels is None else labels
    totals = np.bincount(labels)
    missing = fraction * totals
    chosen = []
    left = totals.copy()
    members = np.argsort(groups, kind="stable")
    numbers, starts = np.unique(groups[members], return_index=True)
    examples = dict(zip(numbers.tolist(), np.split(members, starts[1:]), strict=True))
    for group in dict.fromkeys(groups[order].tolist()):
        counts = np.bincount(labels[examples[group]], minlength=len(totals))
        nearer = np.abs(missing - counts).sum() < np.abs(missing).sum()
        # No class is held out whole.
        if nearer and not ((left == counts) & (counts > 0)).any():
            chosen.append(examples[group])
            missing = missing - counts
            left = left - counts
    if not chosen and not needed:
        return order[:0]
    if not chosen:
        raise ValueError(
            "group_key must give groups of which some can be held out. Received: "
            f"{len(numbers)} groups of {len(groups)} examples, to hold out {fraction:g} of them"
        )
    return np.concatenate(chosen)
