"""What every data set can say of itself, however its images are read."""

import contextlib
import functools
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

import oekd_tf
from oekd_tf.core.choices import SAMPLINGS
from oekd_tf.core.records import Contract, Preparation


class SizedData:
    """Numbers of a data set's examples, and what follows from them.

    Attributes:
        name: Name of the data set.
        image_shape: (height, width, channels).
        num_classes: Number of classes.
        num_train: Number of training examples, without those of the validation split.
        num_validation: Number of validation examples; 0 if there are none.
        num_test: Number of test examples; 0 if there are none.
        held: Where the images are between epochs, in words.
        class_names: Names of the classes.
        mean: Mean of the training images for each channel, in pixel units.
        std: Standard deviation of the training images for each channel, in pixel units.
        notes: What a user should know of the data, one line each.
        files: Names of the files of each split of an image folder; None for other sources.
        labels_at_hand: Whether the training labels are in memory.
        preparation: How a picture becomes an input; None if images came as arrays.
    """

    name: str
    image_shape: tuple[int, int, int]
    num_classes: int
    num_train: int
    num_validation: int
    num_test: int
    held: str
    class_names: list[str]
    mean: Any
    std: Any
    notes: Sequence[str] = ()
    files: dict[str, list[str]] | None = None
    labels_at_hand: bool = True
    preparation: Preparation | None = None

    def take_statistics(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Takes the mean and standard deviation that a run was trained with.

        Args:
            mean: Mean of each channel, in pixel units.
            std: Standard deviation of each channel, in pixel units.
        """
        self.mean, self.std = tuple(mean), tuple(std)
        # It may have been asked for before.
        self.__dict__.pop("contract", None)

    def naming_damage(self) -> AbstractContextManager:
        """A context in which the failure of a pipeline is an error that names the picture."""
        return contextlib.nullcontext()

    @functools.cached_property
    def contract(self) -> Contract:
        """What a network that is trained on this data takes and gives; for `export_students`."""
        sizes = {"train": self.num_train, "validation": self.num_validation, "test": self.num_test}
        # Labels of a stream are not read for this, but are known if something else has read them.
        counted = self.labels_at_hand or "class_counts" in self.__dict__
        return {
            "oekd_tf": oekd_tf.__version__,
            "data": self.name,
            "class_names": self.class_names,
            "image_shape": [int(size) for size in self.image_shape],
            "mean": list(self.mean),
            "std": list(self.std),
            "class_counts": self.class_counts.tolist() if counted else None,
            "preparation": self.preparation,
            "splits": {
                name: {"examples": sizes[name], "fingerprint": fingerprint}
                for name, fingerprint in self.fingerprints().items()
            },
        }

    def fingerprints(self) -> dict[str, str]:
        """A digest of each split that there is, by name."""
        raise NotImplementedError

    @functools.cached_property
    def class_counts(self) -> np.ndarray:
        """Number of training examples of each class, (classes,).

        Of a data set that is read from shards, the labels are read once; no image is decoded.
        """
        return self.count_labels()

    def count_labels(self) -> np.ndarray:
        """Counts the training examples of each class; see `class_counts`."""
        raise NotImplementedError

    def check_sampling(self, sampling: str) -> None:
        """Raises a ValueError if classes cannot be drawn like this.

        Args:
            sampling: One of `oekd_tf.core.choices.SAMPLINGS`.
        """
        if sampling not in SAMPLINGS:
            raise ValueError(f"sampling must be one of {SAMPLINGS}. Received: {sampling!r}")

    def splits_summary(self) -> str:
        """One line about the data set."""
        height, width, channels = self.image_shape
        return (
            f"{self.name}, {self.num_train:,} training, {self.num_validation:,} validation and "
            f"{self.num_test:,} test images of {height}×{width}×{channels}, "
            f"{self.num_classes} classes; {self.held}"
        )

    def steps_per_epoch(self, batch_size: int) -> int:
        """Number of full batches in an epoch.

        Args:
            batch_size: Number of images per step.

        Returns:
            At least 1.

        Raises:
            ValueError: The batch is larger than the training set.
        """
        if not 1 <= batch_size <= self.num_train:
            raise ValueError(
                f"batch_size must be from 1 to the number of training examples, {self.num_train}. "
                f"Received: {batch_size}"
            )
        return self.num_train // batch_size
