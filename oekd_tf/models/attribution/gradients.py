"""Integrated gradients: how much each pixel adds to a class's logit."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from oekd_tf.backbones.parts.preprocessing import first_pixels
from oekd_tf.backbones.parts.tape import record
from oekd_tf.core.types import Tensor
from oekd_tf.models.arguments import check_labelled_images

# Images whose gradients are taken at once.
_BATCH = 128
# Mid grey, where a network does not say what colour is nothing to it.
_GREY = 127.5


def integrated_gradients(
    model: Any,
    images: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    steps: int = 32,
    baseline: float | Sequence[float] | None = None,
) -> np.ndarray:
    """How much each pixel adds to the logit of an image's label.

    The gradient of the logit is integrated along the straight line from a baseline, an image of
    one colour, to the image, and multiplied by how far each pixel is from it. Attributions of an
    image sum to the difference of the logit between the image and the baseline, up to the error
    of the integral, which falls with `steps`. The network is in inference mode.

    Args:
        model: Keras model from raw images to logits.
        images: Raw pixels from 0 to 255, (images, height, width, channels).
        labels: Class indices, (images,).
        steps: Number of gradients of an image, at least 1: nodes of Gauss-Legendre quadrature.
        baseline: Colour of the baseline, a number or one for each channel. None is the mean with
            which the network normalises pixels, or mid grey.

    Returns:
        Attributions in logits, float32, (images, height, width, channels).

    Raises:
        ValueError: An argument breaks its rule.

    Example:
        >>> found = oekd_tf.attribution.integrated_gradients(student, images, labels)
        >>> found.sum((1, 2, 3))  # the logit of each image less that of the baseline

    Reference:
        Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML 2017,
        arXiv 1703.01365.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    check_labelled_images(model, images, labels)
    labels = labels.astype(np.int32)
    if steps < 1:
        raise ValueError(f"steps must be at least 1. Received: {steps}")
    colour = np.asarray(_own_baseline(model) if baseline is None else baseline, np.float32)
    if colour.size not in (1, images.shape[3]) or not np.isfinite(colour).all():
        raise ValueError(
            f"baseline must be None, a number, or one for each of the {images.shape[3]} channels. "
            f"Received: {baseline}"
        )
    import tensorflow as tf

    @tf.function(autograph=False, reduce_retracing=True)
    def gradient(points: Tensor, own: Tensor) -> Tensor:
        return class_gradient(lambda x: model(x, training=False), points, own)

    found = []
    for first in range(0, len(images), _BATCH):
        batch = images[first : first + _BATCH].astype(np.float32)
        own = tf.one_hot(labels[first : first + _BATCH], model.output_shape[-1])
        away, total = batch - colour, np.zeros_like(batch)
        for place, weight in quadrature(steps):
            total += weight * gradient(tf.constant(colour + place * away), own).numpy()
        found.append(away * total)
    return np.concatenate(found)


def quadrature(steps: int) -> Iterator[tuple[np.float32, np.float32]]:
    """Places from 0 to 1 and their weights, which sum to 1, of Gauss-Legendre quadrature."""
    for node, weight in zip(*np.polynomial.legendre.leggauss(steps), strict=True):
        # From -1 ... 1, whose weights sum to 2.
        yield np.float32((node + 1) / 2), np.float32(weight / 2)


def class_gradient(network: Callable[[Tensor], Tensor], points: Tensor, labels: Tensor) -> Tensor:
    """The gradient of each image's logit, the mean of its labels', with respect to its pixels.

    Args:
        network: Function from images to logits.
        points: Pixels, float32, (images, height, width, channels).
        labels: Class probabilities, (images, classes).

    Returns:
        Of the shape of `points`.
    """
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(points)
        logits = tf.cast(network(points), tf.float32)
        chosen = tf.reduce_sum(labels * logits, axis=-1)
    return tape.gradient(chosen, points)


def saliency(attributions: np.ndarray) -> np.ndarray:
    """How much each place of an image counts, for or against: the sum of |attribution|.

    Args:
        attributions: Of `integrated_gradients`, (images, height, width, channels).

    Returns:
        Maps, at least 0, (images, height, width).
    """
    return np.abs(attributions).sum(-1)


def _own_baseline(model: Any) -> Any:
    try:
        _, pixels = first_pixels(record(model))
    except ValueError:
        pixels = None
    return _GREY if pixels is None else pixels[0]
