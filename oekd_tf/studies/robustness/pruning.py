"""Pruning of a trained network by magnitude, without training it further."""

from typing import Any

import numpy as np


def prune(kernel: np.ndarray, share: float) -> np.ndarray:
    """A kernel whose smallest weights are zero.

    Args:
        kernel: Weights of a layer.
        share: Share of them to make zero, from 0 to 1; rounded down to whole weights.

    Returns:
        A copy; of weights of the same size those in front are kept.

    Raises:
        ValueError: The share is out of range.

    Example:
        >>> prune(np.array([3.0, -1.0, 2.0, 0.5]), 0.5)
        array([3., 0., 2., 0.])
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be from 0 to 1. Received: {share}")
    kernel = np.array(kernel, order="C")
    kept = kernel.size - int(share * kernel.size)
    order = np.argsort(-np.abs(kernel), axis=None, kind="stable")
    kernel.reshape(-1)[order[kept:]] = 0
    return kernel


def pruned_weights(model: Any, share: float) -> list[np.ndarray]:
    """The weights of a Keras model with each kernel pruned on its own.

    Args:
        model: A Keras model.
        share: As of `prune`.

    Returns:
        Weights for `model.set_weights`. Biases and batch normalisation stay as they are.
    """
    return [
        prune(value, share) if "kernel" in variable.name else value
        for variable, value in zip(model.weights, model.get_weights(), strict=True)
    ]
