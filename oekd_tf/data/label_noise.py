"""Wrong labels of training examples, for studies of label noise."""

import numpy as np

from oekd_tf.core.choices import LABEL_NOISES


def label_offsets(
    total: int, num_classes: int, share: float, seed: int, kind: str = "symmetric"
) -> np.ndarray:
    """What is added to each example's label, modulo the number of classes, to make some wrong.

    Each label is wrong with the same probability: with "symmetric" noise it is then any other class
    with the same probability, with "pair" noise the next one, as where two classes look alike.

    Args:
        total: Number of examples.
        num_classes: Number of classes, at least 2 where the share is above 0.
        share: Probability that a label is wrong, in [0, 1).
        seed: Random seed.
        kind: One of `oekd_tf.core.choices.LABEL_NOISES`.

    Returns:
        Offsets in int32, (total,); 0 for a label that stays right.

    Raises:
        ValueError: The share is not within [0, 1), the kind unknown, or there is one class.

    Example:
        >>> labels = (labels + label_offsets(len(labels), 10, share=0.2, seed=0)) % 10
    """
    if not 0 <= share < 1:
        raise ValueError(f"label_noise must be at least 0 and below 1. Received: {share}")
    if kind not in LABEL_NOISES:
        raise ValueError(
            f"label_noise_kind must be one of {', '.join(LABEL_NOISES)}. Received: {kind!r}"
        )
    if share and num_classes < 2:
        raise ValueError(
            f"label_noise must be 0 with one class, which is the only label. Received: {share}"
        )
    random = np.random.default_rng(seed)
    wrong = random.random(total) < share
    others = random.integers(1, max(num_classes, 2), total) if kind == "symmetric" else 1
    return np.where(wrong, others, 0).astype(np.int32)
