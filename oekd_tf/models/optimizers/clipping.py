"""Gradient clipping that is independent of the number of replicas."""

import keras

from oekd_tf.core.keras_internals import clip_gradients
from oekd_tf.core.types import Tensor


def clip_over_replicas(
    optimizer: keras.optimizers.Optimizer, gradients: list[Tensor | None]
) -> list[Tensor | None]:
    """Clips the sum of all replicas' gradients, where Keras would clip each replica's own.

    Clipping does not commute with summation: with Keras's clipping, gradients would depend on the
    number of replicas.

    Args:
        optimizer: Optimizer with `clipnorm`, `clipvalue` or `global_clipnorm`; gradients are
            unchanged without one.
        gradients: Gradients of this replica.

    Returns:
        Gradients whose sum over replicas, which Keras takes, is the clipped sum. Each is so small
        that Keras's own clipping does not change it.
    """
    clips = (optimizer.clipnorm, optimizer.clipvalue, optimizer.global_clipnorm)
    if keras.backend.backend() != "tensorflow" or all(clip is None for clip in clips):
        return gradients
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return gradients
    there = [gradient for gradient in gradients if gradient is not None]
    summed = context.all_reduce(tf.distribute.ReduceOp.SUM, there)
    clipped = iter(clip_gradients(optimizer, summed))
    share = 1 / context.num_replicas_in_sync
    return [None if gradient is None else next(clipped) * share for gradient in gradients]
