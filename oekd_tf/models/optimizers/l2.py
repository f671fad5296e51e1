"""L2 regularisation of gradients."""

from typing import Any

from keras import ops

from oekd_tf.core.types import Tensor


def check_l2(l2: float) -> float:
    """Returns the coefficient as a float, or raises a ValueError when it is below 0."""
    if not l2 >= 0:
        raise ValueError(f"l2 must be at least 0. Received: {l2}")
    return float(l2)


def add_l2(gradient: Tensor, variable: Any, l2: float) -> Tensor:
    """Adds the gradient of l2/2 · ‖variable‖² for kernels.

    Recipes call this L2 or weight decay; Keras's `weight_decay` is the decoupled decay of AdamW
    instead. It takes two operations per kernel; regularizers of layers would take several, and a
    sum over all of them. Biases, and scale and offset of batch normalisation, which are vectors,
    are left out.

    Args:
        gradient: Gradient of the loss with respect to the variable.
        variable: The variable.
        l2: Coefficient of the L2 term, at least 0.

    Returns:
        Gradient of the regularised loss.
    """
    if not l2 or len(variable.shape) < 2:
        return gradient
    return gradient + l2 * ops.convert_to_tensor(variable, dtype=gradient.dtype)
