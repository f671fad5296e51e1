"""Statistics of a whole batch of which each replica has a part."""

from typing import Any

import keras
from keras import ops

from oekd_tf.core.types import Tensor


def batch_mean(values: Tensor) -> Tensor:
    """The mean over the examples of all replicas.

    Args:
        values: One value or vector an example, (batch, ...): the part of this replica.

    Returns:
        The mean over the first axis, the same on all replicas. Gradients flow through it.

    Example:
        >>> batch_mean(np.array([1.0, 3.0]))  # 2.0
    """
    total = ops.sum(values, axis=0)
    count = ops.cast(ops.shape(values)[0], values.dtype)
    context = _replica_context()
    if context is not None:
        import tensorflow as tf

        total, count = context.all_reduce(tf.distribute.ReduceOp.SUM, [total, count])
    return total / ops.maximum(count, 1.0)


def whole_batch(values: Tensor) -> Tensor:
    """The examples of all replicas, without gradients.

    Args:
        values: (batch, ...), of known sizes but for the batch: the part of this replica.

    Returns:
        All examples, the same on all replicas.
    """
    values = ops.stop_gradient(values)
    context = _replica_context()
    if context is None:
        return values
    # The shape of what was gathered is not known when the step is traced.
    return ops.reshape(context.all_gather(values, axis=0), (-1, *values.shape[1:]))


def _replica_context() -> Any:
    """TensorFlow's replica context where there are several replicas; None elsewhere.

    Under JAX a step sees the whole batch, on however many devices.
    """
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    several = context is not None and context.num_replicas_in_sync > 1
    return context if several else None
