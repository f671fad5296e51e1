"""Optimizers by name."""

from typing import Any

import keras

from oekd_tf.models.optimizers.adam import Adam
from oekd_tf.models.optimizers.sgd import SGD


def get(identifier: Any) -> keras.optimizers.Optimizer:
    """Like `keras.optimizers.get`, with the fused versions of "adam" and "sgd".

    Args:
        identifier: Name or config of an optimizer, or an optimizer, which is returned.

    Returns:
        The optimizer.

    Raises:
        ValueError: Keras knows no such optimizer.

    Example:
        >>> oekd_tf.optimizers.get("adam")
    """
    fused = {"adam": Adam, "sgd": SGD}
    if isinstance(identifier, str) and identifier.lower() in fused:
        return fused[identifier.lower()]()
    return keras.optimizers.get(identifier)
