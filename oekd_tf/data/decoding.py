"""Decoding of pictures to one size, with the pixels of `oekd_tf.device.pictures`."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from oekd_tf.core.records import Preparation
from oekd_tf.core.types import Tensor
from oekd_tf.data.cropping import central_window, random_window, to_uint8
from oekd_tf.device.picture_headers import pixels_problem, read_header
from oekd_tf.device.pictures import decode

# How a picture is decoded: by Pillow, as a plain JPEG of an EXIF orientation (1 to 8), or as a
# plain PNG.
_PILLOW, _UPRIGHT, _PNG = 0, 1, 9

# Pillow's weights of red, green and blue in grey, and their common denominator.
_GREY, _GREY_SCALE = (19595, 38470, 7471), 65536


class ImageDecoder(NamedTuple):
    """Decodes a data set's pictures, of any format that Pillow reads, to one size.

    Plain JPEG and PNG files are decoded by TensorFlow, in parallel, and of a JPEG only the crop.

    Attributes:
        image_shape: (height, width, channels) of the decoded images.
        varying: Whether the images differ in size: they are then center-cropped to the aspect ratio
            of `image_shape` before they are resized; otherwise the whole image is resized.
        central_crop: Share of the center crop's height and width to take, in (0, 1].
    """

    image_shape: tuple[int, int, int]
    varying: bool = False
    central_crop: float = 0.875

    def preparation(self) -> Preparation:
        """How evaluation makes an input of a picture."""
        return {
            "orientation": "exif",
            "crop": self.central_crop if self.varying else None,
            "resize": "bilinear",
            "antialias": True,
        }

    def whole(self, encoded: Tensor, kind: Tensor | None = None) -> Tensor:
        """An image for evaluation.

        Args:
            encoded: Content of the image file.
            kind: Its element of `kinds`; found here if None.

        Returns:
            The image, uint8 of shape `image_shape`.
        """
        target = self.image_shape[:2]

        def middle(size: Tensor) -> Tensor:
            # An image that has the target size already is not cropped.
            share = tf.where(tf.reduce_all(size == tf.constant(target)), 1.0, self.central_crop)
            return central_window(size, target, share)

        return self._resized(self._decoded(encoded, kind, middle if self.varying else None))

    def random_crop(self, encoded: Tensor, draws: Tensor, kind: Tensor | None = None) -> Tensor:
        """A random resized crop of an image; only that part of a JPEG is decoded.

        Args:
            encoded: Content of the image file.
            draws: Random numbers for `random_window`, shape (4,).
            kind: Its element of `kinds`; found here if None.

        Returns:
            The crop, uint8 of shape `image_shape`.
        """
        return self._resized(self._decoded(encoded, kind, lambda size: random_window(size, draws)))

    def _decoded(
        self, encoded: Tensor, kind: Tensor | None, choose: Callable[[Tensor], Tensor] | None
    ) -> Tensor:
        """The upright image, or the window of it that `choose` gives for its size."""
        channels = self.image_shape[2]
        if channels not in (1, 3):
            # Pillow has no mode for such images; they come from arrays, not from cameras.
            image = tf.io.decode_image(encoded, channels, expand_animations=False)
            return _cut(image, choose)
        encoded = tf.convert_to_tensor(encoded)
        kind = kinds(encoded[None])[0] if kind is None else kind

        def jpeg() -> Tensor:
            if choose is None:
                return _jpeg(encoded)
            return _jpeg(encoded, choose(tf.io.extract_jpeg_shape(encoded)[:2]))

        def turned_jpeg() -> Tensor:
            return _turned_jpeg(encoded, kind, choose)

        def png() -> Tensor:
            return _cut(tf.io.decode_png(encoded, 3), choose)

        def any_other() -> Tensor:
            # As a vector: NumPy takes zeros off the end of a single text.
            image = tf.numpy_function(lambda one: decode(one[0], 3), [encoded[None]], tf.uint8)
            image.set_shape((None, None, 3))
            return _cut(image, choose)

        image = tf.cond(
            kind == _UPRIGHT,
            jpeg,
            lambda: tf.cond(
                kind == _PILLOW, any_other, lambda: tf.cond(kind == _PNG, png, turned_jpeg)
            ),
        )
        return _grey(image) if channels == 1 else image

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


def kinds(encoded: Tensor) -> Tensor:
    """How each picture of a batch is decoded.

    Args:
        encoded: Contents of image files, (batch,).

    Returns:
        Codes for `ImageDecoder`, int32 (batch,).
    """
    found = tf.numpy_function(_kinds, [encoded], tf.int32)
    found.set_shape(encoded.shape)
    return found


def _kinds(contents: np.ndarray) -> np.ndarray:
    return np.array([_kind(content) for content in contents], np.int32)


def _kind(content: bytes) -> int:
    header = read_header(content)
    if not header.plain or pixels_problem(header.width, header.height):
        return _PILLOW
    return header.orientation if header.format == "JPEG" else _PNG


def _jpeg(encoded: Tensor, window: Tensor | None = None) -> Tensor:
    # As Pillow decodes: TensorFlow's own choice is faster and less exact.
    exact = "INTEGER_ACCURATE"
    if window is None:
        return tf.io.decode_jpeg(encoded, 3, dct_method=exact)
    # Colour that is stored at half the resolution is interpolated from the pixels around.
    start, extent = window[:2], window[2:]
    first = tf.maximum(start - 1, 0)
    last = tf.minimum(start + extent + 1, tf.io.extract_jpeg_shape(encoded)[:2])
    larger = tf.concat([first, last - first], axis=0)
    image = tf.io.decode_and_crop_jpeg(encoded, larger, 3, dct_method=exact)
    return _cut(image, lambda _: tf.concat([start - first, extent], axis=0))


def _turned_jpeg(
    encoded: Tensor, orientation: Tensor, choose: Callable[[Tensor], Tensor] | None
) -> Tensor:
    """A JPEG that is stored turned or mirrored; the window is of the upright image."""

    def is_one_of(*values: int) -> Tensor:
        return tf.reduce_any(orientation == tf.constant(values))

    transposed = orientation >= 5
    upside_down, mirrored = is_one_of(3, 4, 7, 8), is_one_of(2, 3, 6, 7)
    if choose is None:
        image = _jpeg(encoded)
    else:
        stored = tf.io.extract_jpeg_shape(encoded)[:2]
        upright = tf.where(transposed, stored[::-1], stored)
        top, left, height, width = tf.unstack(choose(upright))
        top = tf.where(upside_down, upright[0] - top - height, top)
        left = tf.where(mirrored, upright[1] - left - width, left)
        window = tf.stack([top, left, height, width])
        image = _jpeg(encoded, tf.where(transposed, tf.gather(window, [1, 0, 3, 2]), window))
    image = tf.cond(transposed, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    image = tf.cond(upside_down, lambda: image[::-1], lambda: image)
    return tf.cond(mirrored, lambda: image[:, ::-1], lambda: image)


def _cut(image: Tensor, choose: Callable[[Tensor], Tensor] | None) -> Tensor:
    if choose is None:
        return image
    top, left, height, width = tf.unstack(choose(tf.shape(image)[:2]))
    return image[top : top + height, left : left + width]


def _grey(image: Tensor) -> Tensor:
    weighted = tf.cast(image, tf.int32) * tf.constant(_GREY)
    grey = (tf.reduce_sum(weighted, -1, keepdims=True) + _GREY_SCALE // 2) // _GREY_SCALE
    return tf.cast(grey, tf.uint8)
