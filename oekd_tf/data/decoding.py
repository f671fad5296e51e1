"""From an encoded image to pixels."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from oekd_tf.core.types import Tensor
from oekd_tf.data.cropping import central_window, random_window, to_uint8


class ImageDecoder(NamedTuple):
    """How a data set's images, JPEG or PNG, become pixels of one size.

    Attributes:
        image_shape: (height, width, channels) of the result.
        varying: Whether the images differ in size: their middle is then cut out in the result's
            shape before it is resized; otherwise the whole image is resized.
        central_crop: How much of that middle, in (0, 1].
    """

    image_shape: tuple[int, int, int]
    varying: bool = False
    central_crop: float = 0.875

    def whole(self, encoded: Tensor) -> Tensor:
        """An image as evaluation sees it: uint8, `image_shape`."""
        if not self.varying:
            return self._resized(self._decoded(encoded))
        target = self.image_shape[:2]

        def middle(size: Tensor) -> Tensor:
            # An image that has the size already was prepared: it is not cut.
            share = tf.where(tf.reduce_all(size == tf.constant(target)), 1.0, self.central_crop)
            return central_window(size, target, share)

        return self._window(encoded, middle)

    def random_crop(self, encoded: Tensor, draws: Tensor) -> Tensor:
        """A random window of an image; of a JPEG, only that window is decoded.

        Args:
            encoded: The file's bytes.
            draws: As of `random_window`, shape (4,).

        Returns:
            uint8, `image_shape`.
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
