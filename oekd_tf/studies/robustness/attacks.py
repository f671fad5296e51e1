"""Adversarial examples: images that are changed a little so that a network takes them wrongly.

All are within a distance of the image in the largest norm, in units of pixels from 0 to 255, and
within the range of pixels. The network sees them in inference mode.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from oekd_tf.core.types import Tensor
from oekd_tf.models.arguments import check_labelled_images

# Images whose gradients are taken at once.
_BATCH = 128


def fgsm(model: Any, images: np.ndarray, labels: np.ndarray, epsilon: float) -> np.ndarray:
    """The fast gradient sign method: one step along the sign of the loss's gradient.

    Args:
        model: Keras model from raw images to logits.
        images: Raw pixels from 0 to 255, (images, height, width, channels).
        labels: Class indices, (images,).
        epsilon: Largest change of a pixel, above 0.

    Returns:
        Changed images, float32, of the same shape.

    Raises:
        ValueError: An argument breaks its rule.

    Example:
        >>> changed = oekd_tf.robustness.fgsm(ensemble.students[-1], images, labels, epsilon=8)

    Reference:
        Goodfellow, Shlens, Szegedy, "Explaining and Harnessing Adversarial Examples", ICLR 2015,
        arXiv 1412.6572.
    """
    _check(model, images, labels, epsilon)
    direction = _direction_of(model)
    found = [
        np.clip(batch + epsilon * direction(batch, own).numpy(), 0, 255)
        for batch, own in _batches(images, labels)
    ]
    return np.concatenate(found).astype(np.float32)


def pgd(
    model: Any,
    images: np.ndarray,
    labels: np.ndarray,
    epsilon: float,
    *,
    steps: int = 20,
    step_size: float | None = None,
    random_start: bool = True,
    seed: int = 0,
) -> np.ndarray:
    """Projected gradient descent: steps along the sign of the gradient, kept near the image.

    Args:
        model: Keras model from raw images to logits.
        images: Raw pixels from 0 to 255, (images, height, width, channels).
        labels: Class indices, (images,).
        epsilon: Largest change of a pixel, above 0.
        steps: Number of steps, at least 1.
        step_size: Size of a step; a quarter of `epsilon` if None.
        random_start: Whether to begin at a random place within `epsilon`.
        seed: Random seed of that place, at least 0.

    Returns:
        Changed images, float32, of the same shape.

    Raises:
        ValueError: An argument breaks its rule.

    Example:
        >>> changed = oekd_tf.robustness.pgd(ensemble.students[-1], images, labels, epsilon=8)

    Reference:
        Madry, Makelov, Schmidt, Tsipras, Vladu, "Towards Deep Learning Models Resistant to
        Adversarial Attacks", ICLR 2018, arXiv 1706.06083.
    """
    _check(model, images, labels, epsilon)
    if steps < 1:
        raise ValueError(f"steps must be at least 1. Received: {steps}")
    size = epsilon / 4 if step_size is None else step_size
    if not size > 0:
        raise ValueError(f"step_size must be above 0. Received: {step_size}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0. Received: {seed}")
    direction = _direction_of(model)
    random = np.random.default_rng(seed)
    found = []
    for batch, own in _batches(images, labels):
        low, high = np.maximum(batch - epsilon, 0), np.minimum(batch + epsilon, 255)
        changed = batch
        if random_start:
            away = random.uniform(-epsilon, epsilon, batch.shape).astype(np.float32)
            changed = np.clip(batch + away, low, high)
        for _ in range(steps):
            changed = np.clip(changed + np.float32(size) * direction(changed, own), low, high)
        found.append(changed)
    return np.concatenate(found).astype(np.float32)


def _check(model: Any, images: np.ndarray, labels: np.ndarray, epsilon: float) -> None:
    check_labelled_images(model, images, labels)
    if not 0 < epsilon <= 255:
        raise ValueError(f"epsilon must be above 0 and at most 255. Received: {epsilon}")


def _batches(images: np.ndarray, labels: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (
            np.asarray(images[first : first + _BATCH], np.float32),
            np.asarray(labels[first : first + _BATCH], np.int32),
        )
        for first in range(0, len(images), _BATCH)
    ]


@functools.lru_cache(maxsize=4)
def _direction_of(model: Any) -> Callable[[np.ndarray, np.ndarray], Tensor]:
    """A function from images and labels to the sign of the loss's gradient."""
    import tensorflow as tf

    @tf.function(autograph=False, reduce_retracing=True)
    def direction(images: Tensor, labels: Tensor) -> Tensor:
        with tf.GradientTape() as tape:
            tape.watch(images)
            logits = tf.cast(model(images, training=False), tf.float32)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return tf.sign(tape.gradient(losses, images))

    return lambda images, labels: direction(tf.constant(images), tf.constant(labels))
