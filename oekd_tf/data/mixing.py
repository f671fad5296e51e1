"""Soft labels: smoothing, mixup and cutmix of a batch, as pure functions."""

from typing import NamedTuple

import tensorflow as tf

from oekd_tf.core.types import Tensor
from oekd_tf.data.cropping import to_uint8


class Mixing(NamedTuple):
    """How a batch's images and labels are mixed.

    Attributes:
        mixup: α of the Beta(α, α) that mixup's share is drawn from; 0 does not mix.
        cutmix: The same of cutmix. With both, each batch has one of the two, chosen evenly.
        label_smoothing: Share of a label that is spread over all classes, in [0, 1).
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    label_smoothing: float = 0.0

    @property
    def soft_labels(self) -> bool:
        """Whether labels become class probabilities."""
        return any(self)

    @property
    def pairs(self) -> bool:
        """Whether each image is mixed with another one of its batch."""
        return bool(self.mixup or self.cutmix)


def check_mixing(mixing: Mixing) -> None:
    """Raises a ValueError where a number breaks its rule."""
    for name in ("mixup", "cutmix"):
        if not 0 <= getattr(mixing, name) < float("inf"):
            raise ValueError(f"{name} must be at least 0. Received: {getattr(mixing, name)}")
    if not 0 <= mixing.label_smoothing < 1:
        raise ValueError(
            f"label_smoothing must be at least 0 and below 1. Received: {mixing.label_smoothing}"
        )


def mix(
    images: Tensor, labels: Tensor, num_classes: int, mixing: Mixing, seed: Tensor
) -> tuple[Tensor, Tensor]:
    """Mixes each image, and its label, with the batch's next one.

    Args:
        images: uint8, (batch, height, width, channels).
        labels: Class indices, (batch,).
        num_classes: Number of classes.
        mixing: What to do.
        seed: Of the batch, shape (2,).

    Returns:
        uint8 images of the same shape, and labels: as given if nothing is to be done, otherwise
        class probabilities, float32 (batch, classes).
    """
    if not mixing.soft_labels:
        return images, labels
    labels = smooth(tf.one_hot(labels, num_classes), mixing.label_smoothing)
    seeds = tf.random.split(seed, 3)

    def with_mixup() -> tuple[Tensor, Tensor]:
        return mixup(images, labels, beta(mixing.mixup, seeds[1]))

    def with_cutmix() -> tuple[Tensor, Tensor]:
        centre = tf.random.stateless_uniform((2,), seeds[2])
        return cutmix(images, labels, beta(mixing.cutmix, seeds[1]), centre)

    if mixing.mixup and mixing.cutmix:
        return tf.cond(tf.random.stateless_uniform((), seeds[0]) < 0.5, with_mixup, with_cutmix)
    if mixing.mixup:
        return with_mixup()
    return with_cutmix() if mixing.cutmix else (images, labels)


def smooth(probabilities: Tensor, share: float) -> Tensor:
    """Spreads a share of every label evenly over all classes (arXiv 1512.00567, section 7).

    Args:
        probabilities: (batch, classes).
        share: In [0, 1).

    Returns:
        (batch, classes).
    """
    return (1 - share) * probabilities + share / probabilities.shape[-1]


def mixup(images: Tensor, labels: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """A weighted sum of each image and the batch's next one (arXiv 1710.09412).

    Args:
        images: uint8, (batch, height, width, channels).
        labels: Class probabilities, (batch, classes).
        share: Weight of the image itself, in [0, 1].

    Returns:
        Mixed images, uint8, and labels.
    """
    pixels = tf.cast(images, tf.float32)
    mixed = share * pixels + (1 - share) * _next(pixels)
    return to_uint8(mixed), share * labels + (1 - share) * _next(labels)


def cutmix(images: Tensor, labels: Tensor, share: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Pastes a rectangle of the batch's next image into each (arXiv 1905.04899).

    Args:
        images: (batch, height, width, channels).
        labels: Class probabilities, (batch, classes).
        share: Of the image that is to stay, in [0, 1]; what does stay, where the rectangle
            reaches over the border, is what the labels have.
        centre: Of the rectangle, from (0, 0), top left, to (1, 1).

    Returns:
        Mixed images and labels.
    """
    size = tf.constant(tuple(images.shape[1:3]), tf.float32)
    half = tf.sqrt(1 - share) * size / 2
    start = tf.cast(tf.round(tf.maximum(centre * size - half, 0)), tf.int32)
    end = tf.cast(tf.round(tf.minimum(centre * size + half, size)), tf.int32)
    rows, columns = tf.range(images.shape[1])[:, None], tf.range(images.shape[2])[None]
    inside = (rows >= start[0]) & (rows < end[0]) & (columns >= start[1]) & (columns < end[1])
    stays = 1 - tf.reduce_mean(tf.cast(inside, tf.float32))
    mixed = tf.where(inside[None, :, :, None], _next(images), images)
    return mixed, stays * labels + (1 - stays) * _next(labels)


def beta(alpha: float, seed: Tensor) -> Tensor:
    """A number drawn from Beta(alpha, alpha)."""
    first, second = tf.unstack(tf.random.stateless_gamma((2,), seed, alpha))
    # For a very small alpha both can be 0.
    return tf.math.divide_no_nan(first, first + second)


def _next(values: Tensor) -> Tensor:
    return tf.roll(values, -1, axis=0)
