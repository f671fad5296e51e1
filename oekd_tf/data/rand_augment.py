"""RandAugment: two random operations out of eleven, with Keras's preprocessing layers."""

import functools
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from oekd_tf.core.types import Tensor
from oekd_tf.data.cropping import to_uint8

# Magnitude 9 of 30, as in the paper for ImageNet.
_STRENGTH = 9 / 30


class _GivenSeed(keras.random.SeedGenerator):
    """A seed generator without state: its seeds are a function of a number."""

    def __init__(self, seed: Tensor):
        # Not the constructor of the base class, which makes a variable for the state.
        self._given = seed
        self._calls = 0

    def next(self, ordered: bool = True) -> Tensor:
        del ordered
        self._calls += 1
        return tf.stack([self._given, tf.cast(self._calls, self._given.dtype)])


def rand_augment(images: Tensor, draws: Tensor) -> Tensor:
    """Applies two random operations out of eleven to each image, one after the other.

    Shear, translation, rotation, brightness, colour, contrast, sharpness, posterisation,
    solarisation, contrast stretching and equalisation, each of magnitude 9 of 30. Grey images
    have no colour operation. `keras.layers.RandAugment` computes all operations for every image and
    chooses once for a batch; here each image has its own choice, and only that is computed.

    Source: Cubuk et al., "RandAugment", arXiv 1909.13719.

    Args:
        images: Images in uint8, (batch, height, width, channels).
        draws: Random numbers, uniform in [0, 1), (batch, 3): two for the choice of operations, one
            for the seed of the operations.

    Returns:
        Images in uint8 of the same shape.
    """
    shape = images.shape[1:]

    def one(values: tuple) -> Tensor:
        image, numbers = values
        pixels = tf.cast(image, tf.float32)
        for step in (0, 1):
            pixels = _apply_one(pixels, numbers[step], numbers[2] + step)
        return tf.ensure_shape(to_uint8(pixels), shape)

    return tf.map_fn(one, (images, draws), fn_output_signature=tf.TensorSpec(shape, tf.uint8))


def _apply_one(pixels: Tensor, choice: Tensor, number: Tensor) -> Tensor:
    operations = _operations(pixels.shape[-1] == 3)
    # A number below 2 has 24 bits at most: all of them go into the seed.
    seed = tf.cast(number * 2**23, tf.uint32)

    def branch(layer: keras.Layer) -> Any:
        def apply() -> Tensor:
            # Keras's layers use the backend that they were made under; here it is a tf.data graph.
            layer.backend.set_backend("tensorflow")
            transformation = layer.get_random_transformation(
                pixels[None], training=True, seed=_GivenSeed(seed)
            )
            changed = layer.transform_images(pixels[None], transformation)
            return tf.ensure_shape(tf.cast(changed[0], tf.float32), pixels.shape)

        return apply

    index = tf.cast(choice * len(operations), tf.int32)
    return tf.switch_case(index, [branch(layer) for layer in operations])


@functools.cache
def _operations(in_colour: bool) -> tuple[keras.Layer, ...]:
    values = {"value_range": (0, 255)}
    factor = 0.9 * _STRENGTH
    operations = [
        layers.RandomShear(x_factor=0.3 * _STRENGTH, y_factor=0.3 * _STRENGTH),
        layers.RandomTranslation(_STRENGTH / 3, _STRENGTH / 3),
        layers.RandomRotation(30 / 360 * _STRENGTH),
        layers.RandomBrightness(factor, **values),
        layers.RandomContrast(factor, **values),
        layers.RandomSharpness(factor, **values),
        layers.RandomPosterization(round(8 - 4 * _STRENGTH), **values),
        layers.Solarization(addition_factor=0.43 * _STRENGTH, threshold_factor=_STRENGTH, **values),
        layers.AutoContrast(**values),
        layers.Equalization(**values),
    ]
    if in_colour:
        operations.append(layers.RandomColorDegeneration(factor, **values))
    return tuple(operations)
