"""Decoding of JPEG and PNG images."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from oekd_tf.core.types import Tensor
from oekd_tf.data.cropping import central_window, random_window, to_uint8


class ImageDecoder(NamedTuple):
    """Decodes a data set's images, JPEG or PNG, to one size.

    Attributes:
        image_shape: (height, width, channels) of the decoded images.
        varying: Whether the images differ in size: they are then center-cropped to the aspect ratio
            of `image_shape` before they are resized; otherwise the whole image is resized.
        central_crop: Share of the center crop's height and width to take, in (0, 1].
    """

    image_shape: tuple[int, int, int]
    varying: bool = False
    central_crop: float = 0.875

    def whole(self, encoded: Tensor) -> Tensor:
        """An image for evaluation, uint8 of shape `image_shape`."""
        if not self.varying:
            return self._resized(self._decoded(encoded))
        target = self.image_shape[:2]

        def middle(size: Tensor) -> Tensor:
            # An image that has the target size already is not cropped.
            share = tf.where(tf.reduce_all(size == tf.constant(target)), 1.0, self.central_crop)
            return central_window(size, target, share)

        return self._window(encoded, middle)

    def random_crop(self, encoded: Tensor, draws: Tensor) -> Tensor:
        """A random resized crop of an image; only that part of a JPEG is decoded.

        Args:
            encoded: Content of the image file.
            draws: Random numbers for `random_window`, shape (4,).

        Returns:
            The crop, uint8 of shape `image_shape`.
        """
        return self._window(encoded, lambda size: random_window(size, draws))

    def _window(self, encoded: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
        channels = self.image_shape[2]

        def from_jpeg() -> Tensor:
            window = choose(tf.io.extract_jpeg_shape(encoded)[:2])
            return tf.io.decode_and_crop_jpeg(encoded, window, channels=channels)

        def from_other() -> Tensor:
            image = self._decoded(encoded)
            top, left, height, width = tf.unstack(choose(tf.shape(image)[:2]))
            return image[top : top + height, left : left + width]

        return self._resized(tf.cond(tf.io.is_jpeg(encoded), from_jpeg, from_other))

    def _decoded(self, encoded: Tensor) -> Tensor:
        image = tf.io.decode_image(encoded, self.image_shape[2], expand_animations=False)
        return tf.ensure_shape(image, (None, None, self.image_shape[2]))

    def _resized(self, image: Tensor) -> Tensor:
        target = self.image_shape[:2]
        # Antialiasing would blur an image that has the size already.
        same = tf.reduce_all(tf.shape(image)[:2] == tf.constant(target))
        resized = tf.cond(
            same,
            lambda: image,
            lambda: to_uint8(tf.image.resize(image, target, antialias=True)),
        )
        return tf.ensure_shape(resized, self.image_shape)
