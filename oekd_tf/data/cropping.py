"""Random and center crops, as pure functions."""

import math

import tensorflow as tf

from oekd_tf.core.types import Tensor

# Ranges of Inception crops: share of the area, and ratio of width to height.
_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)


def random_window(size: Tensor, draws: Tensor) -> Tensor:
    """A window of 8 to 100 % of an image's area, 3:4 to 4:3, anywhere in it.

    A window that does not fit into the image is clipped at the border, rather than drawn again, so
    that the number of random numbers is the same for all images.

    Source: Szegedy et al., "Going Deeper with Convolutions", arXiv 1409.4842, section 6.

    Args:
        size: Size of the image, int32, (height, width) in the last dimension.
        draws: Random numbers, uniform in [0, 1), shape (..., 4): area, ratio, top and left.

    Returns:
        The window (top, left, height, width), int32, shape (..., 4), within the image and not
        empty.

    Example:
        >>> random_window(tf.constant([100, 200]), tf.constant([0.5, 0.5, 0.0, 0.0]))
    """
    full = tf.cast(size, tf.float32)
    area = (_AREA[0] + (_AREA[1] - _AREA[0]) * draws[..., 0]) * full[..., 0] * full[..., 1]
    low, high = map(math.log, _RATIO)
    ratio = tf.exp(low + (high - low) * draws[..., 1])
    wanted = tf.stack([tf.sqrt(area / ratio), tf.sqrt(area * ratio)], axis=-1)
    extent = tf.clip_by_value(tf.cast(tf.round(wanted), tf.int32), 1, size)
    room = tf.cast(size - extent + 1, tf.float32)
    start = tf.minimum(tf.cast(tf.floor(draws[..., 2:4] * room), tf.int32), size - extent)
    return tf.concat([start, extent], axis=-1)


def central_window(size: Tensor, target: tuple[int, int], share: Tensor) -> Tensor:
    """The largest center crop of the target's aspect ratio, scaled by a share.

    A share of 0.875 is the usual evaluation at 224×224: resize the shorter side to 256, then
    center-crop.

    Args:
        size: Size of the image, int32 (height, width), shape (2,).
        target: (height, width) that define the aspect ratio.
        share: Share of the crop's height and width to take, in (0, 1].

    Returns:
        The window (top, left, height, width), int32, shape (4,).
    """
    full = tf.cast(size, tf.float32)
    wanted = tf.constant(target, tf.float32)
    extent = wanted * tf.reduce_min(full / wanted) * share
    extent = tf.clip_by_value(tf.cast(tf.round(extent), tf.int32), 1, size)
    return tf.concat([(size - extent) // 2, extent], axis=-1)


def crop_and_resize(images: Tensor, draws: Tensor) -> Tensor:
    """Random resized crops of images that all have the same size.

    Args:
        images: Images in uint8, (batch, height, width, channels).
        draws: Random numbers for `random_window`, (batch, 4).

    Returns:
        Images in uint8 of the same shape.
    """
    height, width = images.shape[1:3]
    size = tf.broadcast_to(tf.constant([height, width]), (tf.shape(draws)[0], 2))
    top, left, rows, columns = tf.unstack(tf.cast(random_window(size, draws), tf.float32), axis=1)
    # The op counts from the first pixel's centre to the last one's.
    last_row, last_column = max(height - 1.0, 1.0), max(width - 1.0, 1.0)
    boxes = tf.stack(
        [
            top / last_row,
            left / last_column,
            (top + rows - 1) / last_row,
            (left + columns - 1) / last_column,
        ],
        axis=1,
    )
    # A sample that rounding puts outside would be black.
    boxes = tf.clip_by_value(boxes, 0.0, 1.0 - 1e-6)
    indices = tf.range(tf.shape(images)[0])
    return to_uint8(tf.image.crop_and_resize(images, boxes, indices, (height, width)))


def to_uint8(pixels: Tensor) -> Tensor:
    """Rounds pixels and clips them to 0 to 255."""
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)
