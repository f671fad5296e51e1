"""Gradient clipping that does not depend on the number of replicas."""

import keras

from oekd_tf.core.keras_internals import clip_gradients
from oekd_tf.core.types import Tensor


def clip_over_replicas(
    optimizer: keras.optimizers.Optimizer, gradients: list[Tensor | None]
) -> list[Tensor | None]:
    """Clips the sum of all replicas' gradients, where Keras would clip each replica's own.

    The sum's norm is not that of its parts: clipped before they are added, gradients on two
    replicas are others than on one.

    Args:
        optimizer: With `clipnorm`, `clipvalue` or `global_clipnorm`; else nothing is done.
        gradients: This replica's.

    Returns:
        Gradients that, added up over replicas as Keras will, are the clipped sum. Each is small
        enough that Keras's own clipping leaves it.
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
