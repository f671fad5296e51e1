"""Splits of a data set as `tf.data`; batches are functions of (seed, epoch, example)."""

import contextlib
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from oekd_tf.core.errors import one_line
from oekd_tf.core.records import Preparation
from oekd_tf.data.augmentation import augment, crop_draws, draws_needed
from oekd_tf.data.base import SizedData
from oekd_tf.data.label_noise import label_offsets
from oekd_tf.data.mixing import Mixing, check_mixing, mix
from oekd_tf.data.splits import ArraySplit, IndexedSplit, Split, unpacked
from oekd_tf.models.distributed.share import Share

# Number of training images for mean and standard deviation, if not all are in memory.
_STATISTICS_IMAGES = 5000


class Data(SizedData):
    """Training, validation and test examples of one data set; made by `oekd_tf.data.load`.

    All images are raw pixels, uint8; normalisation is part of the network. The test split is read
    at its first use.

    Attributes:
        name: Name of the data set.
        image_shape: (height, width, channels).
        class_names: Names of the classes.
        num_classes: Number of classes.
        num_train: Number of training examples, without those of the validation split.
        num_validation: Number of examples of the validation split; 0 if there is none.
        num_test: Number of examples of the test split; 0 if there is none.
        notes: What a user should know of the data, one line each.
        files: Names of the files of each split of an image folder; None for other sources.
    """

    def __init__(
        self,
        name: str,
        image_shape: tuple[int, int, int],
        class_names: Sequence[str],
        train: Split,
        validation: Split | None,
        read_test: Callable[[], Split] | None,
        num_test: int,
        *,
        preparation: Preparation | None = None,
        fingerprints: Mapping[str, Callable[[], str]] | None = None,
        all_for_statistics: bool = True,
        files: dict[str, list[str]] | None = None,
        notes: Sequence[str] = (),
        find_damaged: Callable[[], str | None] | None = None,
        read_rows: Callable[[str], np.ndarray] | None = None,
    ):
        self.name = name
        self.image_shape = image_shape
        self.class_names = list(class_names)
        self.num_classes = len(self.class_names)
        self.num_train = train.size
        self.num_validation = validation.size if validation else 0
        self.num_test = num_test
        self.held = f"training images {train.held}"
        self.notes = list(notes)
        self.files = files
        self.labels_at_hand = isinstance(train, IndexedSplit)
        self._train = train
        self._validation = validation
        self._read_test = read_test
        self.preparation = preparation
        self._fingerprints = dict(fingerprints or {})
        self._all_for_statistics = all_for_statistics
        self._find_damaged = find_damaged
        self._read_rows = read_rows

    def fingerprints(self) -> dict[str, str]:
        return {name: fingerprint() for name, fingerprint in self._fingerprints.items()}

    @contextlib.contextmanager
    def naming_damage(self) -> Iterator[None]:
        """Turns the failure of a pipeline on a damaged picture into a line that names the file."""
        try:
            yield
        except tf.errors.OpError as error:
            damaged = self._find_damaged() if self._find_damaged else None
            if damaged is None and not re.search(r"(?i)jpe?g|png|picture", error.message):
                raise
            damaged = damaged or f"an example of {self.name}: {one_line(error.message)}"
            raise ValueError(
                "Pictures must be readable; remove or replace what is not, and start again. "
                f"Received: {damaged}"
            ) from error

    def count_labels(self) -> np.ndarray:
        return self._train.count_labels(self.num_classes)

    def check_sampling(self, sampling: str) -> None:
        super().check_sampling(sampling)
        if sampling == "balanced" and not self.labels_at_hand:
            raise ValueError(
                f"sampling must be 'natural' for images {self._train.held}: balanced sampling "
                "needs cache='decoded', or an image folder. Received: 'balanced'"
            )

    @functools.cached_property
    def mean(self) -> tuple[float, ...]:
        """Mean of the training images for each channel, in pixel units.

        Mean and `std` are over all images if they have one size and take at most 2 GiB, over 5,000
        images otherwise.
        """
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
        mixup: float = 0.0,
        cutmix: float = 0.0,
        label_smoothing: float = 0.0,
        label_noise: float = 0.0,
        label_noise_kind: str = "symmetric",
        noise_seed: int = 0,
        sampling: str = "natural",
        views: int = 1,
        share: Share | None = None,
        teacher_logits: np.ndarray | None = None,
    ) -> tf.data.Dataset:
        """Endless training batches; pass `steps_per_epoch` to `fit`.

        Order and augmentation are functions of (seed, epoch, example): the same seed gives the same
        batches, and `first_epoch=3` resumes as if the first three epochs had been read.

        Args:
            batch_size: Number of images per batch; an incomplete last batch of an epoch is dropped.
            seed: Random seed of order and augmentation, at least 0.
            first_epoch: Epoch to start with, from 0.
            first_step: Step of that epoch to start with, from 0.
            augmentation: Names of `oekd_tf.core.choices.AUGMENTATIONS`, in the order of
                application: "random_resized_crop" (first, if at all), "pad_crop", "flip",
                "color_jitter", "rand_augment".
            mixup: α of mixup's Beta distribution; 0 is off.
            cutmix: α of cutmix's Beta distribution; 0 is off. With mixup too, each batch has one
                of the two.
            label_smoothing: Share of each label that is spread evenly over all classes.
            label_noise: Share of the labels that are replaced by another class, the same ones in
                every epoch.
            label_noise_kind: "symmetric", any other class, or "pair", the next one.
            noise_seed: Random seed of the wrong labels; it differs from the training seed, so that
                runs of several seeds share them.
            sampling: "natural", every example once an epoch, or "balanced": as many examples, all
                classes equally often, so that some are left out of an epoch and others come back
                in it, augmented anew.
            views: Number of augmentations of each image; with more than 1, images are
                (batch, views, height, width, channels), and mixup and cutmix are refused.
            share: This host's share of every batch, for several hosts; the whole batch if None.
                Only its own images are decoded, except with mixup or cutmix, which pair images of
                the whole batch.
            teacher_logits: A row of logits for each training example by its index, which labels
                come with; without augmentation, mixup and cutmix, because they are of images as
                they are.

        Returns:
            Batches of images (batch, height, width, channels), uint8, and labels: class indices
            (batch,), int32, or with mixup, cutmix or label smoothing class probabilities
            (batch, classes), float32; with teacher logits a dict of "labels" and "teacher_logits".

        Raises:
            ValueError: The batch is too large, an augmentation unknown or a number out of range.

        Example:
            >>> ensemble.fit(data.train(128, seed=0), epochs=30,
            ...              steps_per_epoch=data.steps_per_epoch(128))
        """
        draws_an_example = draws_needed(augmentation)
        mixing = Mixing(mixup, cutmix, label_smoothing)
        check_mixing(mixing)
        if views < 1 or (views > 1 and mixing.pairs):
            raise ValueError(
                "views must be at least 1, and 1 with mixup or cutmix. "
                f"Received: {views} with mixup {mixup} and cutmix {cutmix}"
            )
        if teacher_logits is not None and (augmentation or mixing.pairs or views > 1):
            raise ValueError(
                "teacher_logits must be left out with augmentation, mixup, cutmix or views. "
                f"Received: {tuple(augmentation)}, {mixup}, {cutmix} and {views}"
            )
        offsets = label_offsets(
            self._train.total, self.num_classes, label_noise, noise_seed, label_noise_kind
        )
        self.check_sampling(sampling)
        balanced = sampling == "balanced"
        steps = self.steps_per_epoch(batch_size)
        share = share or Share()
        if not (first_epoch >= 0 and 0 <= first_step < steps):
            raise ValueError(
                f"first_epoch must be at least 0, first_step from 0 and below {steps}. "
                f"Received: {first_epoch} and {first_step}"
            )

        def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
            epoch_seed = tf.stack([tf.cast(seed, tf.int64), epoch])
            shape = (self._train.total, views * draws_an_example)
            draws = tf.random.stateless_uniform(shape, tf.random.fold_in(epoch_seed, 1))
            draw = getattr(self._train, "balanced" if balanced else "shuffled")
            references = draw(seed, epoch).batch(batch_size, drop_remainder=True)
            mixing_seed = tf.random.fold_in(epoch_seed, 2)

            def rows(batch: tf.Tensor, reference: Any) -> tf.Tensor:
                if balanced:
                    # By place, because an example may come back in an epoch.
                    return batch * batch_size + tf.range(batch_size, dtype=tf.int64)
                return reference[0] if isinstance(reference, tuple) else reference

            return references.enumerate().map(
                lambda batch, reference: (
                    reference,
                    tf.gather(draws, rows(batch, reference)),
                    # One seed per row, so that all parts can be split into shares alike.
                    tf.tile(tf.random.fold_in(mixing_seed, batch)[None], (batch_size, 1)),
                )
            )

        def one_batch(references: Any, draws: tf.Tensor, seeds: tf.Tensor) -> tuple:
            seen = []
            for view in tf.split(draws, views, axis=1):
                examples, images, labels = self._train.fetch(
                    references, crop_draws(augmentation, view)
                )
                if label_noise:
                    wrong = tf.cast(tf.gather(offsets, examples), labels.dtype)
                    labels = (labels + wrong) % self.num_classes
                seen.append(augment(images, augmentation, view))
            images = seen[0] if views == 1 else tf.stack(seen, axis=1)
            images, labels = mix(images, labels, self.num_classes, mixing, seeds[0])
            if teacher_logits is None:
                return images, labels
            logits = tf.gather(tf.constant(teacher_logits), examples)
            return images, {"labels": labels, "teacher_logits": logits}

        epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
        # Mapped over the flat stream, because within `flat_map` it would not run in parallel.
        batches = epochs.flat_map(one_epoch).skip(first_step)
        if not mixing.pairs:
            batches = share.of(batches)
        batches = batches.map(one_batch, tf.data.AUTOTUNE, deterministic=True)
        if mixing.pairs:
            batches = share.of(batches)
        return _distributable(batches.prefetch(tf.data.AUTOTUNE))

    @property
    def num_examples(self) -> int:
        """Number of examples that training images were chosen from: their indices are below it."""
        return self._train.total

    def rows(self, feature: str) -> np.ndarray:
        """A feature of the TFDS data set, such as logits, by index of a training example.

        Args:
            feature: Name of a feature that is a vector.

        Returns:
            (examples, values), float32.

        Raises:
            ValueError: There is no such feature, or the data are not of TFDS.
        """
        if self._read_rows is None:
            raise ValueError(
                "teacher_logits must be a file for data that are not of TFDS. "
                f"Received: the feature {feature!r} of {self.name}"
            )
        return self._read_rows(feature)

    def in_order(self, batch_size: int) -> tf.data.Dataset:
        """Training images as they are, once, in batches of (indices, images)."""
        batches = self._train.ordered().batch(batch_size)
        return batches.map(lambda *reference: self._train.fetch(unpacked(reference))[:2])

    def validation(self, batch_size: int, share: Share | None = None) -> tf.data.Dataset:
        """Validation batches in a fixed order without augmentation; the last may be smaller."""
        return _batches(self._validation_split(), batch_size, share=share)

    def test(self, batch_size: int, share: Share | None = None) -> tf.data.Dataset:
        """Test batches in a fixed order without augmentation; the last may be smaller."""
        return _batches(self._test_split, batch_size, share=share)

    def train_images(self, count: int, seed: int = 0) -> np.ndarray:
        """A random choice of training images without augmentation, for instance for calibration.

        Args:
            count: Number of images.
            seed: Random seed of the choice.

        Returns:
            Images in uint8, (count, height, width, channels).

        Raises:
            ValueError: The training set has fewer images.
        """
        if not 1 <= count <= self.num_train:
            raise ValueError(
                f"count must be from 1 to the number of training examples, {self.num_train}. "
                f"Received: {count}"
            )
        chosen = self._train.shuffled(seed, tf.constant(0, tf.int64)).take(count).batch(256)
        fetched = chosen.map(lambda *reference: self._train.fetch(unpacked(reference)))
        return np.concatenate([images for _, images, _ in fetched.as_numpy_iterator()])

    def validation_arrays(self, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The first validation images (uint8) and labels (int32); all if `count` is None."""
        return _arrays(self._validation_split(), count)

    def test_arrays(self, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The first test images (uint8) and labels (int32); all if `count` is None."""
        return _arrays(self._test_split, count)

    def _validation_split(self) -> Split:
        if self._validation is None:
            raise ValueError(
                f"validation_fraction must be large enough to hold out an example of {self.name}. "
                "Received: a validation split of 0"
            )
        return self._validation

    @functools.cached_property
    def _test_split(self) -> Split:
        if self._read_test is None:
            raise ValueError(f"{self.name} must have a test split to be tested on. Received: none")
        return self._read_test()

    @functools.cached_property
    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        total = np.zeros((2, self.image_shape[2]))
        count = 0
        # Which images does not depend on where they are stored.
        sample = self._train.sample(-1 if self._all_for_statistics else _STATISTICS_IMAGES)
        for images, _ in _batches(self._train, 250, sample):
            pixels = images.numpy().astype(np.float64)
            total += [pixels.sum((0, 1, 2)), (pixels**2).sum((0, 1, 2))]
            count += pixels[..., 0].size
        mean, square = total / count
        std = np.sqrt(np.maximum(square - mean**2, 0))
        # Avoids division by zero for a constant channel.
        return tuple(mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist())


def _batches(
    split: Split,
    batch_size: int,
    references: tf.data.Dataset | None = None,
    share: Share | None = None,
) -> tf.data.Dataset:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1. Received: {batch_size}")
    references = split.ordered() if references is None else references
    batches = (
        (share or Share())
        .of(references.batch(batch_size))
        .map(
            lambda *reference: split.fetch(unpacked(reference))[1:],
            tf.data.AUTOTUNE,
            deterministic=True,
        )
    )
    return _distributable(batches.prefetch(tf.data.AUTOTUNE))


def _arrays(split: Split, count: int | None) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(split, ArraySplit):
        return split.arrays(count)
    references = split.ordered().take(-1 if count is None else count)
    images, labels = [], []
    for batch, batch_labels in _batches(split, 256, references).as_numpy_iterator():
        images.append(batch)
        labels.append(batch_labels)
    return np.concatenate(images), np.concatenate(labels)


def _distributable(batches: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    # Order is by index, so workers are assigned examples rather than files.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    # On one core an iterator is not freed before its tuning thread wakes, up to a minute later.
    options.autotune.enabled = False
    return batches.with_options(options)
