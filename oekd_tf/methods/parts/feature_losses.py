"""How far a student's inner outputs are from the pseudo teacher's.

Pure functions of tensors, on any Keras backend; each returns one value an example, in float32. The
pseudo teacher is a target, into which no gradient flows. `losses.feature_loss` is the paper's.
"""

from keras import ops

from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts.replicas import batch_mean

# Keeps an attention map of zeros from a division by zero.
_LEAST = 1e-8
_LEAST_VARIANCE = 1e-4


def attention_loss(target: Tensor, block: Tensor) -> Tensor:
    """The squared distance between attention maps: q = m / ‖m‖₂ with m = mean_c F².

    It depends neither on the scale of the blocks nor on their number of channels.

    Args:
        target: The pseudo teacher's block output, (batch, height, width, channels).
        block: The student's; it may have other channels.

    Returns:
        From 0 to 2, (batch,).

    Example:
        >>> attention_loss(np.ones((1, 2, 2, 8)), 3 * np.ones((1, 2, 2, 3)))  # [0.0]

    Source: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017,
    https://arxiv.org/abs/1612.03928, equation 2 with p = 2.
    """
    return ops.sum(
        ops.square(_attention(block) - _attention(ops.stop_gradient(target))), axis=(1, 2)
    )


def _attention(block: Tensor) -> Tensor:
    energy = ops.mean(ops.square(ops.cast(block, "float32")), axis=-1)
    square = ops.sum(ops.square(energy), axis=(1, 2), keepdims=True)
    return energy / (ops.sqrt(ops.maximum(square, _LEAST**2)) + _LEAST)


def channel_mean_loss(target: Tensor, block: Tensor) -> Tensor:
    """The mean squared error between the means over the channels, which needs no adaptation.

    Args:
        target: The pseudo teacher's block output, (batch, height, width, channels).
        block: The student's; it may have other channels.

    Returns:
        The mean over height and width, (batch,).

    Source: the first version of the authors' code of https://arxiv.org/abs/2011.07449,
    https://github.com/Devwalkar/BOC-KD.
    """
    target = ops.mean(ops.cast(ops.stop_gradient(target), "float32"), axis=-1)
    mean = ops.mean(ops.cast(block, "float32"), axis=-1)
    return ops.mean(ops.square(mean - target), axis=(1, 2))


def projected_loss(target: Tensor, projected: Tensor) -> Tensor:
    """The mean squared error between pooled features that are standardised over the batch.

    Each channel has mean 0 and variance 1 over the whole batch on both sides, so that the loss is
    2 at first, whatever the network's depth and the student's width.

    Args:
        target: The pseudo teacher's pooled features, (batch, channels).
        projected: The student's after a dense layer to as many channels.

    Returns:
        The mean over channels, (batch,).

    Source: after Miles and Mikolajczyk, "Understanding the Role of the Projector in Knowledge
    Distillation", AAAI 2024, https://arxiv.org/abs/2303.11098.
    """
    target = _over_the_batch(ops.cast(ops.stop_gradient(target), "float32"))
    return ops.mean(ops.square(_over_the_batch(ops.cast(projected, "float32")) - target), axis=-1)


def _over_the_batch(features: Tensor) -> Tensor:
    mean = batch_mean(features)
    variance = batch_mean(ops.square(features - mean))
    return (features - mean) * ops.rsqrt(variance + _LEAST_VARIANCE)
