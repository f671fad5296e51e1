"""Batch normalisation of odd numbers of channels, at the speed of even ones."""

import functools
import math
import platform
from typing import Any

import tensorflow as tf

# Channels that oneDNN's kernels take at once.
_LANES = 16
# Below it what the kernel gains is lost to the operations around it.
_LEAST_VALUES = 512


def groups_for(shape: Any) -> int:
    """How many pixels `batch_norm` takes for one.

    On x86, oneDNN normalises tensors whose channels are not a multiple of four, as those of narrow
    students are, five times as slowly for each value as others.

    Args:
        shape: Static shape of the images, (batch, height, width, channels).

    Returns:
        The number, which divides the pixels of an image; 1 where the plain kernel is to be used.
    """
    _, height, width, channels = shape
    if None in (height, width) or channels % 4 == 0 or not _is_cpu_with_onednn():
        return 1
    if height * width * channels < _LEAST_VALUES:
        return 1
    groups = _LANES // math.gcd(channels, _LANES)
    return groups if height * width % groups == 0 else 1


def batch_norm(
    images: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float, groups: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalises images by their own statistics, `groups` pixels taken as one of more channels.

    A pixel of 9 channels is slow, 16 pixels as one of 144 channels are not. Statistics of the 144
    are then put together to those of the 9: the mean of means, and the mean of variances plus the
    variance of means. The same for gradients, which are sums.

    Args:
        images: Float32, (batch, height, width, channels).
        scale: Factor of each channel.
        offset: What is then added to each channel.
        epsilon: Constant added to the variance.
        groups: From `groups_for`, above 1.

    Returns:
        The normalised images, and mean and variance of each channel, of the population; gradients
        flow through the images alone.
    """

    forward, backward = _functions(tuple(images.shape))

    @tf.custom_gradient
    def normalised(images: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tuple:
        outputs, mean, variance, tiled = forward(images, scale, offset, epsilon, groups)

        def gradient(upstream: tf.Tensor, *_: Any) -> tuple:
            return backward(upstream, images, tiled, epsilon, groups)

        return (outputs, mean, variance), gradient

    outputs, mean, variance = normalised(images, scale, offset)
    return outputs, tf.stop_gradient(mean), tf.stop_gradient(variance)


@functools.cache
def _functions(shape: tuple[int | None, ...]) -> tuple[Any, Any]:
    """Functions for one shape: all its layers are traced once. They are inlined before they run."""
    del shape
    return tf.function(_forward), tf.function(_backward)


# Few operations and arguments, because each costs time in the first step of a deep network.
def _forward(
    images: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float, groups: int
) -> tuple:
    wide = _wide(images, groups)
    channels = wide.shape[-1]
    own = tf.raw_ops.FusedBatchNormV3(
        x=wide, scale=tf.ones(channels), offset=tf.zeros(channels), mean=[], variance=[],
        epsilon=epsilon, is_training=True,
    )  # fmt: skip
    means = tf.reshape(own.batch_mean, (groups, -1))
    # Of the population, where `batch_variance` is of the sample.
    variances = tf.reshape(own.reserve_space_2, (groups, -1))
    mean = tf.reduce_mean(means, axis=0)
    variance = tf.reduce_mean(variances + tf.math.squared_difference(means, mean), axis=0)
    tiled = tf.tile(tf.stack([mean, variance, scale, offset]), (1, groups))
    return _like(_apply(wide, epsilon, *tf.unstack(tiled)), images), mean, variance, tiled


def _backward(
    upstream: tf.Tensor, images: tf.Tensor, tiled: tf.Tensor, epsilon: float, groups: int
) -> tuple:
    wide = _wide(images, groups)
    mean, variance, scale, _ = tf.unstack(tiled)
    # As with constant statistics, which gives the sums that the rest is made of.
    constant = tf.raw_ops.FusedBatchNormGradV3(
        y_backprop=_wide(upstream, groups), x=wide, scale=scale, reserve_space_1=mean,
        reserve_space_2=variance, reserve_space_3=[], epsilon=epsilon, is_training=False,
    )  # fmt: skip
    sums = tf.stack([constant.scale_backprop, constant.offset_backprop])
    sums = tf.reduce_sum(tf.reshape(sums, (2, groups, -1)), axis=1)
    through_scale, through_offset = tf.unstack(
        tf.tile(sums / -channel_values(images), (1, groups))
        * (scale * tf.math.rsqrt(variance + epsilon))
    )
    through = _apply(wide, epsilon, mean, variance, through_scale, through_offset)
    of_scale, of_offset = tf.unstack(sums)
    return _like(constant.x_backprop + through, images), of_scale, of_offset


def _apply(
    wide: tf.Tensor,
    epsilon: float,
    mean: tf.Tensor,
    variance: tf.Tensor,
    scale: tf.Tensor,
    offset: tf.Tensor,
) -> tf.Tensor:
    return tf.raw_ops.FusedBatchNormV3(
        x=wide, scale=scale, offset=offset, mean=mean, variance=variance, epsilon=epsilon,
        is_training=False,
    ).y  # fmt: skip


def _wide(images: tf.Tensor, groups: int) -> tf.Tensor:
    _, height, width, channels = images.shape
    return tf.reshape(images, (-1, height * width // groups, 1, groups * channels))


def _like(wide: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    return tf.reshape(wide, (-1, *images.shape[1:]))


def channel_values(images: tf.Tensor) -> Any:
    """Number of values that a channel's statistics are taken over, at least 1, as a float.

    Args:
        images: Images, (batch, height, width, channels).

    Returns:
        A Python number where the shape is known, or else a scalar tensor in float32.
    """
    *sizes, channels = images.shape
    if None not in sizes:
        return float(max(1, math.prod(sizes)))
    return tf.maximum(1.0, tf.cast(tf.size(images) // channels, tf.float32))


@functools.cache
def _is_cpu_with_onednn() -> bool:
    accelerators = tf.config.list_physical_devices("GPU") or tf.config.list_logical_devices("TPU")
    return platform.machine() in ("x86_64", "AMD64") and not accelerators
