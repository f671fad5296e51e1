"""Images in NumPy arrays, for backends other than TensorFlow."""

import math
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from oekd_tf.config_errors import ConfigError

_NAMES = ("x_train", "y_train", "x_test", "y_test")
_PADDING = 4
AUGMENTATIONS = ("pad_crop", "flip")


class ArrayData:
    """Training, validation and test images in memory.

    Args:
        name: For messages and reports.
        x_train: Images, uint8 (images, height, width, channels).
        y_train: Class indices, (images,) or (images, 1).
        x_test: The test split's images.
        y_test: Their labels.
        validation_fraction: Of the training images, held out.
        split_seed: Of the choice of them.

    Raises:
        ConfigError: The arrays are not of these shapes, or a split would be empty.

    Example:
        >>> (x_train, y_train), (x_test, y_test) = keras.datasets.cifar100.load_data()
        >>> data = ArrayData("cifar100", x_train, y_train, x_test, y_test)
    """

    def __init__(
        self,
        name: str,
        x_train: np.ndarray,
        y_train: np.ndarray,
        x_test: np.ndarray,
        y_test: np.ndarray,
        *,
        validation_fraction: float = 0.1,
        split_seed: int = 0,
    ):
        images, labels = _checked("train", x_train, y_train)
        self.name = name
        self.test = _checked("test", x_test, y_test)
        if self.test[0].shape[1:] != images.shape[1:]:
            raise ConfigError(
                f"Test images must have the training images' shape, {images.shape[1:]}. "
                f"Received: {self.test[0].shape[1:]}"
            )
        self.num_classes = int(labels.max()) + 1
        if self.test[1].max() >= self.num_classes:
            raise ConfigError(
                f"Test labels must be from 0 to {self.num_classes - 1}, the largest training "
                f"label. Received: {self.test[1].max()}"
            )
        order = np.random.default_rng(split_seed).permutation(len(images))
        held_out = round(validation_fraction * len(images))
        chosen, others = np.sort(order[:held_out]), np.sort(order[held_out:])
        if not len(others):
            raise ConfigError(
                "config.data.validation_fraction must leave images to train on. "
                f"Received: {validation_fraction}, of {len(images)} images"
            )
        self.train = images[others], labels[others]
        self.validation = images[chosen], labels[chosen]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.train[0].shape[1:]

    def steps_per_epoch(self, batch_size: int) -> int:
        """Whole batches of an epoch.

        Args:
            batch_size: Images a step.

        Raises:
            ConfigError: There is none.
        """
        steps = len(self.train[0]) // batch_size
        if not steps:
            raise ConfigError(
                f"config.batch_size must be at most the number of training images, "
                f"{len(self.train[0])}. Received: {batch_size}"
            )
        return steps

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel of the training images, in pixel units."""
        pixels = self.train[0]
        count = math.prod(pixels.shape[:3])
        total = pixels.sum((0, 1, 2), dtype=np.float64)
        # By batches: the squares of all images at once would take eight times their memory.
        parts = np.array_split(pixels, max(1, len(pixels) // 1000))
        squares = sum((part.astype(np.float64) ** 2).sum((0, 1, 2)) for part in parts)
        deviation = np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0))
        scale = np.where(deviation > 0, deviation, 1.0)
        return tuple((total / count).tolist()), tuple(scale.tolist())

    def batches(
        self, batch_size: int, seed: int, first_epoch: int = 0, augmentation: Sequence[str] = ()
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Training batches, epoch after epoch without end.

        Order and augmentation are functions of (seed, epoch) alone, so that a run that is gone on
        with sees what it would have seen.

        Args:
            batch_size: Images a batch; what is left of an epoch is not used in it.
            seed: Of order and augmentation.
            first_epoch: From 0.
            augmentation: Of `AUGMENTATIONS`, in their order.

        Yields:
            Images and labels.
        """
        images, labels = self.train
        steps = self.steps_per_epoch(batch_size)
        epoch = first_epoch
        while True:
            rng = np.random.default_rng((seed, epoch))
            order = rng.permutation(len(images))
            for step in range(steps):
                chosen = order[step * batch_size : (step + 1) * batch_size]
                batch = images[chosen]
                if "pad_crop" in augmentation:
                    batch = pad_crop(batch, rng.integers(0, 2 * _PADDING + 1, (batch_size, 2)))
                if "flip" in augmentation:
                    mirrored = rng.random(batch_size) < 0.5
                    batch = np.where(mirrored[:, None, None, None], batch[:, :, ::-1], batch)
                yield batch, labels[chosen]
            epoch += 1


def pad_crop(images: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Pads by 4 pixels of zero on every side and crops back.

    Args:
        images: (batch, height, width, channels).
        start: Where each window begins from top and left, from 0 to 8, (batch, 2).

    Returns:
        Images of the same shape.

    Source: https://arxiv.org/abs/2011.07449, section 4.1.
    """
    height, width = images.shape[1:3]
    border = (_PADDING, _PADDING)
    padded = np.pad(images, ((0, 0), border, border, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    cropped = windows[np.arange(len(images)), start[:, 0], start[:, 1]]
    return np.ascontiguousarray(np.moveaxis(cropped, 1, -1))


def load_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a data set.

    Args:
        path: An `.npz` file of x_train, y_train, x_test and y_test, as `keras.datasets` has them.

    Returns:
        The four arrays by name.

    Raises:
        ConfigError: The file is not there, is no such file, or lacks one of the four.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            missing = [name for name in _NAMES if name not in arrays.files]
            if missing:
                raise ConfigError(
                    f"--arrays must be a file of {', '.join(_NAMES)}. "
                    f"Received: {path} without {', '.join(missing)}"
                )
            return {name: arrays[name] for name in _NAMES}
    # TypeError: an .npy file, which holds one array without a name.
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"--arrays must be a readable .npz file. Received: {error}") from error


def _checked(split: str, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    images, labels = np.asarray(images), np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise ConfigError(
            f"x_{split} must be uint8 images of shape (images, height, width, channels). "
            f"Received: {images.dtype} {images.shape}"
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise ConfigError(
            f"y_{split} must be one class index from 0 on for each of {len(images)} images. "
            f"Received: {labels.dtype} {labels.shape}, the least {labels.min(initial=0)}"
        )
    return images, labels.astype(np.int32)
