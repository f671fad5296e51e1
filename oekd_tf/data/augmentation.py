"""Augmentations of training images: pure functions of a batch and of random numbers.

The numbers are drawn outside, one row an example, so that an example's augmentation depends on
(seed, epoch, example) and not on the batch that it is in; and whole batches are worked on at once,
because small operations on single images cost ten times as much.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

Tensor = Any

_PADDING = 4


class Augmentation(NamedTuple):
    """One augmentation.

    Attributes:
        draws: How many random numbers an example takes.
        apply: From images (batch, height, width, channels) and numbers, uniform in [0, 1), of
            shape (batch, draws), to images of the same shape.
    """

    draws: int
    apply: Callable[[Tensor, Tensor], Tensor]


def pad_crop(images: Tensor, draws: Tensor) -> Tensor:
    """Pads by 4 pixels of zero on every side and crops back at a random place.

    Source: https://arxiv.org/abs/2011.07449, section 4.1; He et al., arXiv 1512.03385, section 4.2.

    Args:
        images: (batch, height, width, channels).
        draws: Uniform in [0, 1), (batch, 2): where the window starts from top and left.

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
    """Mirrors left and right with probability one half.

    Args:
        images: (batch, height, width, channels).
        draws: Uniform in [0, 1), (batch, 1).

    Returns:
        Images of the same shape.
    """
    columns = tf.range(images.shape[2])
    # A gather moves each pixel once; reversing all and choosing afterwards takes twice as long.
    return tf.gather(images, tf.where(draws < 0.5, columns[::-1], columns), axis=2, batch_dims=1)


AUGMENTATIONS = {"pad_crop": Augmentation(2, pad_crop), "flip": Augmentation(1, flip)}


def draws_needed(names: Sequence[str]) -> int:
    """How many random numbers an example takes for these augmentations.

    Raises:
        ValueError: There is no augmentation of a name.
    """
    for name in names:
        if name not in AUGMENTATIONS:
            raise ValueError(
                f"An augmentation must be one of {', '.join(AUGMENTATIONS)}. Received: {name!r}"
            )
    return sum(AUGMENTATIONS[name].draws for name in names)


def augment(images: Tensor, names: Sequence[str], draws: Tensor) -> Tensor:
    """Applies augmentations by name.

    Args:
        images: (batch, height, width, channels).
        names: Keys of `AUGMENTATIONS`, in the order of application.
        draws: Uniform in [0, 1), (batch, draws_needed(names)).

    Returns:
        The augmented images.

    Example:
        >>> augment(images, ("pad_crop", "flip"), tf.random.uniform((len(images), 3)))
    """
    start = 0
    for name in names:
        count, apply = AUGMENTATIONS[name]
        images = apply(images, draws[:, start : start + count])
        start += count
    return images
