"""Label smoothing, mixup and cutmix of a batch, as pure functions."""

from typing import NamedTuple

import tensorflow as tf

from oekd_tf.core.types import Tensor
from oekd_tf.data.cropping import to_uint8


class Mixing(NamedTuple):
    """Settings of label smoothing, mixup and cutmix.

    Attributes:
        mixup: α of mixup's Beta(α, α) distribution; 0 is off.
        cutmix: α of cutmix's Beta(α, α) distribution; 0 is off. With both, each batch has one of
            the two with equal probability.
        label_smoothing: Share of each label that is spread evenly over all classes, in [0, 1).
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
        """Whether images are mixed in pairs."""
        return bool(self.mixup or self.cutmix)


def check_mixing(mixing: Mixing) -> None:
    """Raises a ValueError if a setting is out of range."""
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
    """Mixes each image and its label with the next of the batch, and smooths labels.

    Args:
        images: Images in uint8, (batch, height, width, channels).
        labels: Class indices, (batch,).
        num_classes: Number of classes.
        mixing: Settings.
        seed: Random seed of the batch, shape (2,).

    Returns:
        Images in uint8 of the same shape, and labels: unchanged if all settings are off, otherwise
        class probabilities in float32, (batch, classes).
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
    """Label smoothing (arXiv 1512.00567, section 7).

    Args:
        probabilities: Class probabilities, (batch, classes).
        share: Share of each label that is spread evenly over all classes, in [0, 1).

    Returns:
        Smoothed class probabilities, (batch, classes).
    """
    return (1 - share) * probabilities + share / probabilities.shape[-1]


def mixup(images: Tensor, labels: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted sums of each image and the next of the batch (arXiv 1710.09412).

    Args:
        images: Images in uint8, (batch, height, width, channels).
        labels: Class probabilities, (batch, classes).
        share: Weight of the image itself, in [0, 1].

    Returns:
        Mixed images in uint8, and mixed labels.
    """
    pixels = tf.cast(images, tf.float32)
    mixed = share * pixels + (1 - share) * _next(pixels)
    return to_uint8(mixed), share * labels + (1 - share) * _next(labels)


def cutmix(images: Tensor, labels: Tensor, share: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Pastes a rectangle of the batch's next image into each (arXiv 1905.04899).

    Args:
        images: Images, (batch, height, width, channels).
        labels: Class probabilities, (batch, classes).
        share: Share of the image to keep, in [0, 1]. Labels are mixed by the share that is kept
            after the rectangle is clipped at the border.
        centre: Centre of the rectangle, from (0, 0), top left, to (1, 1).

    Returns:
        Mixed images and mixed labels.
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
