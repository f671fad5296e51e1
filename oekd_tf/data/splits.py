"""Splits of a data set: arrays in memory, image files, or shards."""

import functools
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from oekd_tf.core.types import Tensor
from oekd_tf.data.balanced import BalancedOrder
from oekd_tf.data.cropping import crop_and_resize
from oekd_tf.data.decoding import ImageDecoder, kinds

# Largest size of a decoded split that is held in memory, the same on every machine.
MEMORY_LIMIT_BYTES = 2 * 2**30

# Size of the shuffle buffer of a streamed epoch.
SHUFFLE_BUFFER = 10_000

# Number of shards that a shuffled epoch interleaves.
SHARDS_AT_A_TIME = 16


class Split(Protocol):
    """Examples as (index, image, label), where an example's index never changes.

    A split is read in two steps, first references, then the examples that they refer to: the first
    decides the order, the second can run in parallel. A reference, or its first part, is the
    example's index.

    Attributes:
        size: Number of examples.
        total: Number of examples before any `select`; indices are below it.
        held: Description of where the examples are stored.
        indices: Indices of the examples, rising, (size,).
    """

    size: int
    total: int
    held: str
    indices: np.ndarray

    def ordered(self) -> tf.data.Dataset:
        """References to all examples in a fixed order."""

    def shuffled(self, seed: int, epoch: Tensor) -> tf.data.Dataset:
        """References to all examples in an order that is a function of (seed, epoch)."""

    def sample(self, count: int) -> tf.data.Dataset:
        """References to a random sample, which does not depend on where examples are stored."""

    def fetch(self, references: Any, crops: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The (indices, images, labels) of a batch of references.

        Args:
            references: A batch of references from `ordered` or `shuffled`.
            crops: Random numbers for `random_window`, (batch, 4), for a random resized crop of each
                image; None for the whole images.
        """

    def count_labels(self, num_classes: int) -> np.ndarray:
        """Number of examples of each class."""

    def select(self, indices: np.ndarray) -> "Split":
        """The split of these examples only."""


class IndexedSplit:
    """Examples with random access, which are shuffled as a whole.

    Args:
        labels: Class indices, int32 (examples,).
        indices: Indices of the examples to use; all if None.
        by_class: Whether the examples are ordered by class, as files are, rather than shuffled
            when the data set was written.
    """

    held = ""

    def __init__(
        self, labels: np.ndarray, indices: np.ndarray | None = None, by_class: bool = False
    ):
        self._labels = labels
        self.total = len(labels)
        self.indices = np.arange(len(labels)) if indices is None else np.sort(indices)
        self.size = len(self.indices)
        self.by_class = by_class

    @property
    def labels(self) -> np.ndarray:
        return self._labels[self.indices]

    def ordered(self) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(self.indices)

    def shuffled(self, seed: int, epoch: Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.constant(self.indices), seed=tf.stack([tf.cast(seed, tf.int64), epoch])
        )
        return tf.data.Dataset.from_tensor_slices(order)

    def count_labels(self, num_classes: int) -> np.ndarray:
        """Number of examples of each class."""
        return np.bincount(self.labels, minlength=num_classes)

    def balanced(self, seed: int, epoch: Tensor) -> tf.data.Dataset:
        """References to as many examples, all classes equally often, a function as `shuffled`."""
        chosen = tf.gather(tf.constant(self.indices), self._balance.draw_tensor(seed, epoch))
        return tf.data.Dataset.from_tensor_slices(chosen)

    @functools.cached_property
    def _balance(self) -> BalancedOrder:
        return BalancedOrder(self.labels)

    def sample(self, count: int) -> tf.data.Dataset:
        if self.by_class:
            return self.shuffled(0, tf.constant(0, tf.int64)).take(count)
        return self.ordered().take(count)


class ArraySplit(IndexedSplit):
    """Decoded images in memory.

    Args:
        images: Images in uint8, (examples, height, width, channels).
        labels: Class indices, int32 (examples,).
        indices: Indices of the examples to use; all if None.
        by_class: As in `IndexedSplit`.
    """

    held = "decoded, in memory"

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        indices: np.ndarray | None = None,
        by_class: bool = False,
    ):
        super().__init__(labels, indices, by_class)
        self._images = images

    def fetch(self, references: Any, crops: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        images, labels = self._tensors
        images = tf.gather(images, references)
        if crops is not None:
            images = crop_and_resize(images, crops)
        return references, images, tf.gather(labels, references)

    def select(self, indices: np.ndarray) -> "ArraySplit":
        return ArraySplit(self._images, self._labels, indices, self.by_class)

    def arrays(self, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The first images and labels, without a pipeline."""
        indices = self.indices[:count]
        return self._images[indices], self._labels[indices]

    @functools.cached_property
    def _tensors(self) -> tuple[Tensor, Tensor]:
        # Made outside of any graph, so that a graph captures the array instead of copying it.
        with tf.init_scope():
            return tf.constant(self._images), tf.constant(self._labels)


class FileSplit(IndexedSplit):
    """Image files that are read and decoded in each epoch.

    Args:
        paths: Paths of the files.
        labels: Class indices, int32 (examples,).
        decoder: Decoder of the images.
        indices: Indices of the examples to use; all if None.
    """

    held = "read from image files"

    def __init__(
        self,
        paths: np.ndarray,
        labels: np.ndarray,
        decoder: ImageDecoder,
        indices: np.ndarray | None = None,
    ):
        super().__init__(labels, indices, by_class=True)
        self._paths = paths
        self._decoder = decoder

    def fetch(self, references: Any, crops: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        paths, labels = self._tensors
        encoded = tf.map_fn(tf.io.read_file, tf.gather(paths, references))
        images = decode_batch(self._decoder, encoded, crops)
        return references, images, tf.gather(labels, references)

    def select(self, indices: np.ndarray) -> "FileSplit":
        return FileSplit(self._paths, self._labels, self._decoder, indices)

    @functools.cached_property
    def _tensors(self) -> tuple[Tensor, Tensor]:
        with tf.init_scope():
            return tf.constant(self._paths), tf.constant(self._labels)


class StreamSplit:
    """Examples that are read from shards in each epoch, shuffled by shard and in a buffer.

    The order does not depend on whether the shards are files or in memory, so that the amount of
    free memory does not change a run.

    Images stay encoded until `fetch`: examples that are left out are never decoded, and others are
    decoded in parallel.

    Args:
        read: Function from an order of the shards, and the number of shards to interleave, to a
            data set of (index, encoded image, label).
        num_shards: Number of shards.
        total: Number of examples.
        decoder: Decoder of the images.
        held: Description of where the examples are stored.
        indices: Indices of the examples to use; all if None.
    """

    def __init__(
        self,
        read: Callable[[Tensor, int], tf.data.Dataset],
        num_shards: int,
        total: int,
        decoder: ImageDecoder,
        held: str = "read from shards",
        indices: np.ndarray | None = None,
    ):
        self.held = held
        self._read = read
        self.num_shards = num_shards
        self._decoder = decoder
        self.total = total
        self.indices = np.arange(total) if indices is None else np.sort(indices)
        self.size = len(self.indices)

    def ordered(self) -> tf.data.Dataset:
        return self._chosen(tf.range(self.num_shards), at_a_time=1)

    def sample(self, count: int) -> tf.data.Dataset:
        return self.ordered().take(count)

    def shuffled(self, seed: int, epoch: Tensor) -> tf.data.Dataset:
        epoch_seed = tf.stack([tf.cast(seed, tf.int64), epoch])
        order = tf.random.experimental.stateless_shuffle(tf.range(self.num_shards), epoch_seed)
        examples = self._chosen(order, SHARDS_AT_A_TIME)
        seeds = tf.cast(tf.random.fold_in(epoch_seed, 0), tf.int64)
        # `Dataset.shuffle` takes no tensor as its seed and mixes in the process's global one.
        variant = tf.raw_ops.ShuffleDataset(
            input_dataset=tf.data.experimental.to_variant(examples),
            buffer_size=SHUFFLE_BUFFER,
            seed=seeds[0],
            seed2=seeds[1],
            reshuffle_each_iteration=False,
            output_types=[spec.dtype for spec in examples.element_spec],
            output_shapes=[spec.shape for spec in examples.element_spec],
        )
        return tf.data.experimental.from_variant(variant, examples.element_spec)

    def fetch(self, references: Any, crops: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        indices, encoded, labels = references
        return indices, decode_batch(self._decoder, encoded, crops), labels

    def count_labels(self, num_classes: int) -> np.ndarray:
        """Number of examples of each class; images are not decoded."""
        counts = np.zeros(num_classes, np.int64)
        labels = self.ordered().map(lambda index, image, label: label)
        for batch in labels.batch(4096).as_numpy_iterator():
            counts += np.bincount(batch, minlength=num_classes)
        return counts

    def select(self, indices: np.ndarray) -> "StreamSplit":
        return StreamSplit(
            self._read, self.num_shards, self.total, self._decoder, self.held, indices
        )

    def _chosen(self, order: Tensor, at_a_time: int) -> tf.data.Dataset:
        examples = self._read(order, min(at_a_time, self.num_shards))
        if self.size == self.total:
            return examples
        chosen = np.zeros(self.total, bool)
        chosen[self.indices] = True
        return examples.filter(lambda index, image, label: tf.gather(chosen, index))


def decode_batch(decoder: ImageDecoder, encoded: Tensor, crops: Tensor | None) -> Tensor:
    """Decodes a batch of images.

    Args:
        decoder: Decoder of the images.
        encoded: Encoded images, (batch,).
        crops: Random numbers for random resized crops, as in `Split.fetch`; None for whole images.

    Returns:
        Images in uint8, (batch, height, width, channels).
    """
    spec = tf.TensorSpec(decoder.image_shape, tf.uint8)
    how = kinds(encoded)
    if crops is None:
        return tf.map_fn(
            lambda values: decoder.whole(*values), (encoded, how), fn_output_signature=spec
        )
    return tf.map_fn(
        lambda values: decoder.random_crop(*values), (encoded, crops, how), fn_output_signature=spec
    )


def unpacked(reference: tuple) -> Any:
    """A reference from the arguments of a mapped function.

    `map` unpacks a tuple into arguments, and passes anything else as one argument.
    """
    return reference[0] if len(reference) == 1 else reference


def decoded(source: Split) -> ArraySplit:
    """The examples of a split, decoded in memory.

    Args:
        source: The whole split, without any `select`.

    Returns:
        The same examples under the same indices.
    """
    images, labels = None, np.empty(source.total, np.int32)
    references = source.ordered().batch(256)
    examples = references.map(lambda *batch: source.fetch(unpacked(batch)), tf.data.AUTOTUNE)
    for indices, pixels, classes in examples.prefetch(2).as_numpy_iterator():
        if images is None:
            images = np.empty((source.total, *pixels.shape[1:]), np.uint8)
        images[indices] = pixels
        labels[indices] = classes
    assert images is not None, "A split has an example"
    by_class = isinstance(source, IndexedSplit) and source.by_class
    return ArraySplit(images, labels, by_class=by_class)
