"""Kernels with zeros in place of their smallest weights, with tensorflow-model-optimization.

Source: Zhu and Gupta, "To prune, or not to prune", https://arxiv.org/abs/1710.01878.
"""

from typing import Any

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras

# Share of the training in which sparsity rises; in the rest the weights that are left settle.
_RISING = 0.6
_STEPS_BETWEEN_MASKS = 10


def prunable(twin: Any, sparsity: float, steps: int) -> Any:
    """A model whose kernels lose their smallest weights while it is trained.

    Sparsity rises from 0 by the polynomial schedule over the first 60 % of the steps. Depthwise
    kernels, biases and batch normalisation stay whole.

    Args:
        twin: Model of `make_twin`; its layers are wrapped, so give a copy.
        sparsity: Share of zeros in each kernel at the end, from 0 to 1.
        steps: Number of training steps.

    Returns:
        A tf_keras model to train with the callback `UpdatePruningStep`.
    """
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=0.0,
        final_sparsity=sparsity,
        begin_step=0,
        end_step=max(1, round(_RISING * steps)),
        frequency=min(_STEPS_BETWEEN_MASKS, max(1, steps // 10)),
    )

    def wrap(layer: Any) -> Any:
        if type(layer).__name__ not in ("Conv2D", "Dense"):
            return layer
        return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule)

    return tf_keras.models.clone_model(twin, clone_function=wrap)


def callbacks() -> list[Any]:
    """What training a `prunable` model needs."""
    return [tfmot.sparsity.keras.UpdatePruningStep()]


def strip(model: Any) -> Any:
    """The model without what made it prunable, its zeros in place."""
    return tfmot.sparsity.keras.strip_pruning(model)


def sparsity_by_layer(kernels: dict[str, np.ndarray]) -> dict[str, float]:
    """Share of zeros of each kernel.

    Args:
        kernels: Kernels by name of their layer.

    Returns:
        Shares from 0 to 1, by name of the layer.

    Example:
        >>> sparsity_by_layer({"conv": np.array([0.0, 1.0])})
        {'conv': 0.5}
    """
    return {name: round(float((kernel == 0).mean()), 4) for name, kernel in kernels.items()}
