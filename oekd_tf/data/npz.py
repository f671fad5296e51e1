"""Data sets of NumPy arrays, for backends other than TensorFlow.

Interface and validation split are those of `oekd_tf.data.Data`.
"""

import functools
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np

from oekd_tf.core.array_files import check_arrays
from oekd_tf.core.choices import ARRAY_AUGMENTATIONS
from oekd_tf.core.errors import ConfigError
from oekd_tf.core.labels import class_indices, count_classes
from oekd_tf.data.arrays import array_fingerprint
from oekd_tf.data.balanced import BalancedOrder
from oekd_tf.data.base import SizedData
from oekd_tf.data.holdout import hold_out

_NAMES = ("x_train", "y_train", "x_test", "y_test")
_PADDING = 4


class ArrayData(SizedData):
    """Training, validation and test images in memory.

    Args:
        name: Name for messages and reports.
        x_train: Images, uint8 (images, height, width, channels).
        y_train: Class indices, (images,) or (images, 1); the largest and one more is the number
            of classes, most of which must have an example.
        x_test: Images of the test split.
        y_test: Class indices of the test split.
        validation_fraction: Share of the training images that is held out, stratified by class.
        split_seed: Random seed of that split.
        max_examples: Number of training images to keep; all if None.

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
        max_examples: int | None = None,
    ):
        images, labels = _checked("train", x_train, y_train)
        self.name = name
        self._test = _checked("test", x_test, y_test)
        if self._test[0].shape[1:] != images.shape[1:]:
            raise ConfigError(
                f"Test images must have the training images' shape, {images.shape[1:]}. "
                f"Received: {self._test[0].shape[1:]}"
            )
        self.num_classes = count_classes(labels, "y_train", ConfigError)
        self.class_names = [str(index) for index in range(self.num_classes)]
        class_indices(self._test[1], self.num_classes, "y_test", ConfigError)
        train, held_out = hold_out(
            len(images), labels, validation_fraction, split_seed, max_examples
        )
        if not len(train):
            raise ConfigError(
                "config.data.validation_fraction must leave images to train on. "
                f"Received: {validation_fraction}, of {len(images)} images"
            )
        # In the given order, as in `oekd_tf.data.Data`.
        train, held_out = np.sort(train), np.sort(held_out)
        self._train = images[train], labels[train]
        self._validation = images[held_out], labels[held_out]
        self.image_shape: tuple[int, int, int] = images.shape[1:]
        self.num_train, self.num_validation = len(train), len(held_out)
        self.num_test = len(self._test[0])
        self.held = "arrays"

    def fingerprints(self) -> dict[str, str]:
        splits = {"train": self._train, "validation": self._validation, "test": self._test}
        return {name: array_fingerprint(*split) for name, split in splits.items() if len(split[1])}

    def count_labels(self) -> np.ndarray:
        return np.bincount(self._train[1], minlength=self.num_classes)

    @functools.cached_property
    def mean(self) -> tuple[float, ...]:
        """Mean of the training images for each channel, in pixel units."""
        return self._statistics[0]

    @functools.cached_property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of the training images for each channel, in pixel units."""
        return self._statistics[1]

    def train(
        self,
        batch_size: int,
        *,
        seed: int,
        first_epoch: int = 0,
        first_step: int = 0,
        augmentation: Sequence[str] = ("pad_crop", "flip"),
        views: int = 1,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        label_smoothing: float = 0.0,
        label_noise: float = 0.0,
        label_noise_kind: str = "symmetric",
        noise_seed: int = 0,
        sampling: str = "natural",
        share: None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Endless training batches; pass `steps_per_epoch` to `fit`.

        Order and augmentation are functions of (seed, epoch, step), so that a resumed run gets the
        same batches.

        Args:
            batch_size: Number of images per batch; an incomplete last batch of an epoch is dropped.
            seed: Random seed of order and augmentation.
            first_epoch: Epoch to start with, from 0.
            first_step: Step of that epoch to start with, from 0.
            augmentation: Names of `oekd_tf.core.choices.ARRAY_AUGMENTATIONS`, in the order of
                application.
            views: Number of augmentations of each image; with more than 1, images are
                (batch, views, height, width, channels).
            mixup: Must be 0; mixup is not supported.
            cutmix: Must be 0; cutmix is not supported.
            label_smoothing: Must be 0; label smoothing is not supported.
            label_noise: Must be 0; wrong labels are not supported.
            label_noise_kind: Not used.
            noise_seed: Not used.
            sampling: "natural" or "balanced", as in `oekd_tf.data.Data.train`.
            share: Must be None; arrays are for one device.

        Returns:
            Batches of images and labels.

        Raises:
            ValueError: The batch is too large, or an argument is not supported.
        """
        unknown = [name for name in augmentation if name not in ARRAY_AUGMENTATIONS]
        if unknown or mixup or cutmix or label_smoothing or label_noise or share:
            raise ValueError(
                f"augmentation of arrays must be among {', '.join(ARRAY_AUGMENTATIONS)}, without "
                "mixup, cutmix, label smoothing, label noise and shares. "
                f"Received: {list(augmentation)}, {mixup}, {cutmix}, {label_smoothing}, "
                f"{label_noise} and {share}"
            )
        self.check_sampling(sampling)
        return self._batches(
            batch_size, seed, first_epoch, first_step, tuple(augmentation), views,
            BalancedOrder(self._train[1]) if sampling == "balanced" else None,
        )  # fmt: skip

    def validation(self, batch_size: int, share: None = None) -> "Batches":
        """Validation batches in a fixed order without augmentation; the last may be smaller."""
        del share
        return Batches(*self._validation, batch_size)

    def test(self, batch_size: int, share: None = None) -> "Batches":
        """Test batches in a fixed order without augmentation; the last may be smaller."""
        del share
        return Batches(*self._test, batch_size)

    def train_images(self, count: int, seed: int = 0) -> np.ndarray:
        """A random choice of training images without augmentation."""
        chosen = np.random.default_rng((seed, 0)).permutation(self.num_train)[:count]
        return self._train[0][chosen]

    def train_arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All training images (uint8) and labels (int32), without augmentation."""
        return self._train

    def validation_arrays(self, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The first validation images (uint8) and labels (int32); all if `count` is None."""
        return self._validation[0][:count], self._validation[1][:count]

    def test_arrays(self, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The first test images (uint8) and labels (int32); all if `count` is None."""
        return self._test[0][:count], self._test[1][:count]

    @functools.cached_property
    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        pixels = self._train[0]
        count = math.prod(pixels.shape[:3])
        total = pixels.sum((0, 1, 2), dtype=np.float64)
        # In batches, because the squares of all images at once take eight times their memory.
        parts = np.array_split(pixels, max(1, len(pixels) // 1000))
        squares = sum((part.astype(np.float64) ** 2).sum((0, 1, 2)) for part in parts)
        deviation = np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0))
        scale = np.where(deviation > 0, deviation, 1.0)
        return tuple((total / count).tolist()), tuple(scale.tolist())

    def _batches(
        self,
        batch_size: int,
        seed: int,
        first_epoch: int,
        first_step: int,
        augmentation: tuple[str, ...],
        views: int,
        balanced: BalancedOrder | None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        images, labels = self._train
        steps = self.steps_per_epoch(batch_size)
        epoch, first = first_epoch, first_step
        while True:
            shuffle = np.random.default_rng((seed, epoch))
            order = balanced.draw(shuffle) if balanced else shuffle.permutation(len(images))
            for step in range(first, steps):
                chosen = order[step * batch_size : (step + 1) * batch_size]
                rng = np.random.default_rng((seed, epoch, step))
                seen = [_augmented(images[chosen], augmentation, rng) for _ in range(views)]
                yield (seen[0] if views == 1 else np.stack(seen, axis=1)), labels[chosen]
            epoch, first = epoch + 1, 0


class Batches(keras.utils.PyDataset):
    """Batches of arrays in their order; the last may be smaller.

    Args:
        images: Images, (images, height, width, channels).
        labels: Class indices, (images,).
        batch_size: Number of images per batch.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, batch_size: int):
        super().__init__()
        self.images, self.labels, self.batch_size = images, labels, batch_size

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return self.images[rows], self.labels[rows]


def _augmented(
    images: np.ndarray, augmentation: Sequence[str], rng: np.random.Generator
) -> np.ndarray:
    for name in augmentation:
        if name == "pad_crop":
            images = pad_crop(images, rng.integers(0, 2 * _PADDING + 1, (len(images), 2)))
        else:
            mirrored = rng.random(len(images)) < 0.5
            images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    return images


def pad_crop(images: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Pads by 4 pixels of zero on every side and crops to the original size.

    Args:
        images: Images, (batch, height, width, channels).
        start: Offset of each crop from top and left, from 0 to 8, (batch, 2).

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
        path: Path of an `.npz` file of x_train, y_train, x_test and y_test, in the form of
            `keras.datasets`.

    Returns:
        The four arrays by name.

    Raises:
        ConfigError: The file cannot be read, or lacks one of the four.
    """
    try:
        with np.load(check_arrays(path), allow_pickle=False) as arrays:
            missing = [name for name in _NAMES if name not in arrays.files]
            if missing:
                raise ConfigError(
                    f"--arrays must be a file of {', '.join(_NAMES)}. "
                    f"Received: {path} without {', '.join(missing)}"
                )
            return {name: arrays[name] for name in _NAMES}
    # TypeError: an .npy file, which holds one array without a name.
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"--arrays must be a readable .npz file. Received: {error}") from error


def _checked(split: str, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise ConfigError(
            f"x_{split} must be uint8 images of shape (images, height, width, channels). "
            f"Received: {images.dtype} {images.shape}"
        )
    indices = class_indices(labels, name=f"y_{split}", error=ConfigError)
    if len(indices) != len(images):
        raise ConfigError(
            f"y_{split} must be one class index for each of {len(images)} images. "
            f"Received: shape {labels.shape}"
        )
    return images, indices
