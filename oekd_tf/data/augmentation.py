"""Augmentations of training images: pure functions of a batch and of random numbers.

The numbers are drawn outside, one row per example, so that an example's augmentation depends on
(seed, epoch, example) and not on its batch. Operations are on whole batches, because small ones on
single images take ten times as long.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from oekd_tf.core.types import Tensor
from oekd_tf.data.cropping import to_uint8
from oekd_tf.data.rand_augment import rand_augment

_PADDING = 4
_JITTER = 0.4
# Weights of red, green and blue in luma (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)


class Augmentation(NamedTuple):
    """One augmentation.

    Attributes:
        draws: Number of random numbers per example.
        apply: Function from images (batch, height, width, channels) and random numbers, uniform
            in [0, 1), of shape (batch, draws), to images of the same shape; None for a crop that
            is applied when images are decoded.
    """

    draws: int
    apply: Callable[[Tensor, Tensor], Tensor] | None


def pad_crop(images: Tensor, draws: Tensor) -> Tensor:
    """Pads by 4 pixels of zero on every side and crops back at a random place.

    Source: https://arxiv.org/abs/2011.07449, section 4.1; He et al., arXiv 1512.03385, section 4.2.

    Args:
        images: Images, (batch, height, width, channels).
        draws: Random numbers, uniform in [0, 1), (batch, 2): offset from top and left.

    Returns:
        Images of the same shape.
    """
    height, width = images.shape[1:3]
    start = tf.cast(tf.floor(draws * (2 * _PADDING + 1)), tf.int32)
    border = [_PADDING, _PADDING]
    padded = tf.pad(images, [[0, 0], border, border, [0, 0]])
    rows = tf.gather(padded, start[:, :1] + tf.range(height), axis=1, batch_dims=1)
    return tf.gather(rows, start[:, 1:] + tf.range(width), axis=2, batch_dims=1)


def flip(images: Tensor, draws: Tensor) -> Tensor:
    """Flips images horizontally with probability one half.

    Args:
        images: Images, (batch, height, width, channels).
        draws: Random numbers, uniform in [0, 1), (batch, 1).

    Returns:
        Images of the same shape.
    """
    columns = tf.range(images.shape[2])
    # A gather moves each pixel once; reversing all and choosing afterwards takes twice as long.
    return tf.gather(images, tf.where(draws < 0.5, columns[::-1], columns), axis=2, batch_dims=1)


def color_jitter(images: Tensor, draws: Tensor) -> Tensor:
    """Changes brightness, contrast and saturation, each by a factor from 0.6 to 1.4.

    Args:
        images: Images in uint8, (batch, height, width, channels); grey ones have no saturation.
        draws: Random numbers, uniform in [0, 1), (batch, 3): one for each factor.

    Returns:
        Images in uint8 of the same shape.
    """
    factors = 1 - _JITTER + 2 * _JITTER * draws
    brightness, contrast, saturation = tf.unstack(factors[:, None, None, :, None], axis=3)
    pixels = tf.clip_by_value(tf.cast(images, tf.float32) * brightness, 0, 255)
    middle = tf.reduce_mean(_grey(pixels), axis=(1, 2, 3), keepdims=True)
    pixels = tf.clip_by_value(middle + contrast * (pixels - middle), 0, 255)
    grey = _grey(pixels)
    return to_uint8(grey + saturation * (pixels - grey))


def _grey(pixels: Tensor) -> Tensor:
    if pixels.shape[-1] != 3:
        return tf.reduce_mean(pixels, axis=-1, keepdims=True)
    return tf.reduce_sum(pixels * _LUMA, axis=-1, keepdims=True)


_STEPS = {
    "random_resized_crop": Augmentation(4, None),
    "pad_crop": Augmentation(2, pad_crop),
    "flip": Augmentation(1, flip),
    "color_jitter": Augmentation(3, color_jitter),
    "rand_augment": Augmentation(3, rand_augment),
}


def draws_needed(names: Sequence[str]) -> int:
    """Number of random numbers per example for these augmentations.

    Args:
        names: Names of `oekd_tf.core.choices.AUGMENTATIONS`, in the order of application.

    Raises:
        ValueError: There is no augmentation of a name, or a random resized crop is not the first.
    """
    for position, name in enumerate(names):
        if name not in _STEPS:
            raise ValueError(
                f"An augmentation must be one of {', '.join(_STEPS)}. Received: {name!r}"
            )
        if _STEPS[name].apply is None and position:
            raise ValueError(
                f"{name} is done while images are read and must be the first augmentation. "
                f"Received: {tuple(names)}"
            )
    return sum(_STEPS[name].draws for name in names)


def crop_draws(names: Sequence[str], draws: Tensor) -> Tensor | None:
    """The random numbers of a crop that is applied when images are decoded; None without one."""
    if not names or _STEPS[names[0]].apply is not None:
        return None
    return draws[:, : _STEPS[names[0]].draws]


def augment(images: Tensor, names: Sequence[str], draws: Tensor) -> Tensor:
    """Applies augmentations by name, except a crop that is applied when images are decoded.

    Args:
        images: Images, (batch, height, width, channels).
        names: Names of `oekd_tf.core.choices.AUGMENTATIONS`, in the order of application.
        draws: Random numbers, uniform in [0, 1), (batch, draws_needed(names)).

    Returns:
        The augmented images.

    Example:
        >>> augment(images, ("pad_crop", "flip"), tf.random.uniform((len(images), 3)))
    """
    start = 0
    for name in names:
        count, apply = _STEPS[name]
        if apply is not None:
            images = apply(images, draws[:, start : start + count])
        start += count
    return images
