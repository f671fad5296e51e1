"""Metrics of logits, on any Keras backend."""

from keras import ops

from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts.losses import label_probabilities


def label_accuracy(labels: Tensor, logits: Tensor) -> Tensor:
    """Top-1 accuracy of each example.

    Args:
        labels: As in `label_loss`.
        logits: Shape (..., batch, classes).

    Returns:
        1.0 or 0.0, shape (..., batch).

    Example:
        >>> label_accuracy(np.array([1]), np.array([[0.0, 2.0]]))  # [1.0]
    """
    probabilities = label_probabilities(labels, logits.shape[-1])
    hits = ops.equal(ops.argmax(logits, axis=-1), ops.argmax(probabilities, axis=-1))
    return ops.cast(hits, "float32")
