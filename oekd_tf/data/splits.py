"""The examples of one split, in memory or read when they are needed."""

import functools
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from oekd_tf.core.types import Tensor
from oekd_tf.data.cropping import crop_and_resize
from oekd_tf.data.decoding import ImageDecoder

# Examples that a streamed epoch is shuffled among, after its files.
SHUFFLE_BUFFER = 10_000

# Shards that a shuffled epoch reads in turns.
SHARDS_AT_A_TIME = 16


class Split(Protocol):
    """Examples as (index, image, label), where an example's index never changes.

    A split is read in two steps, references first and then what they refer to: the first decides
    the order, the second can run in parallel. A reference, or the first part of it, is the
    example's index.

    Attributes:
        size: How many examples there are.
        total: How many there were before any `select`; indices are below it.
        held: Where the examples are, in words.
    """

    size: int
    total: int
    held: str

    def ordered(self) -> tf.data.Dataset:
        """References to all examples in a fixed order."""

    def shuffled(self, seed: int, epoch: Tensor) -> tf.data.Dataset:
        """References to all examples in an order that is a function of (seed, epoch)."""

    def sample(self, count: int) -> tf.data.Dataset:
        """References to a fair sample, the same however the split is held."""

    def fetch(self, references: Any, crops: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The (indices, images, labels) that a batch of references stands for.

        Args:
            references: A batch from `ordered` or `shuffled`.
            crops: For a random window of each image, numbers as of `random_window`, (batch, 4).
        """

    def select(self, indices: np.ndarray) -> "Split":
        """The split of these examples only."""


class IndexedSplit:
    """Examples that can be had in any order, shuffled as a whole.

    Args:
        labels: int32, (examples,).
        indices: Of the examples to use; all if None.
    """

    held = ""

    def __init__(self, labels: np.ndarray, indices: np.ndarray | None = None):
        self._labels = labels
        self.total = len(labels)
        self._indices = np.arange(len(labels)) if indices is None else np.sort(indices)
        self.size = len(self._indices)

    @property
    def labels(self) -> np.ndarray:
        return self._labels[self._indices]

    def ordered(self) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(self._indices)

    def shuffled(self, seed: int, epoch: Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.constant(self._indices), seed=tf.stack([tf.cast(seed, tf.int64), epoch])
        )
        return tf.data.Dataset.from_tensor_slices(order)

    def sample(self, count: int) -> tf.data.Dataset:
        # A prepared data set was shuffled when it was written.
        return self.ordered().take(count)


class ArraySplit(IndexedSplit):
    """Pixels in memory.

    Args:
        images: uint8, (examples, height, width, channels).
        labels: int32, (examples,).
        indices: Of the examples to use; all if None.
    """

    held = "decoded, in memory"

    def __init__(self, images: np.ndarray, labels: np.ndarray, indices: np.ndarray | None = None):
        super().__init__(labels, indices)
        self._images = images

    def fetch(self, references: Any, crops: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        images, labels = self._tensors
        images = tf.gather(images, references)
        if crops is not None:
            images = crop_and_resize(images, crops)
        return references, images, tf.gather(labels, references)

    def select(self, indices: np.ndarray) -> "ArraySplit":
        return ArraySplit(self._images, self._labels, indices)

    def arrays(self, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The first images and labels, without a pipeline."""
        indices = self._indices[:count]
        return self._images[indices], self._labels[indices]

    @functools.cached_property
    def _tensors(self) -> tuple[Tensor, Tensor]:
        # Made outside of any graph, so that a graph captures the array instead of copying it.
        with tf.init_scope():
            return tf.constant(self._images), tf.constant(self._labels)


class FileSplit(IndexedSplit):
    """Image files, read and decoded when they are needed.

    Args:
        paths: Of the files.
        labels: int32, (examples,).
        decoder: From a file's bytes to pixels.
        indices: Of the examples to use; all if None.
    """

    held = "read from image files"

    def __init__(
        self,
        paths: np.ndarray,
        labels: np.ndarray,
        decoder: ImageDecoder,
        indices: np.ndarray | None = None,
    ):
        super().__init__(labels, indices)
        self._paths = paths
        self._decoder = decoder

    def fetch(self, references: Any, crops: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        paths, labels = self._tensors
        encoded = tf.map_fn(tf.io.read_file, tf.gather(paths, references))
        images = decode_batch(self._decoder, encoded, crops)
        return references, images, tf.gather(labels, references)

    def sample(self, count: int) -> tf.data.Dataset:
        # Files lie there class by class.
        return self.shuffled(0, tf.constant(0, tf.int64)).take(count)

    def select(self, indices: np.ndarray) -> "FileSplit":
        return FileSplit(self._paths, self._labels, self._decoder, indices)

    @functools.cached_property
    def _tensors(self) -> tuple[Tensor, Tensor]:
        with tf.init_scope():
            return tf.constant(self._paths), tf.constant(self._labels)


class StreamSplit:
    """Examples read from shards at every epoch: the shards shuffled, then within a buffer.

    The order does not depend on whether the shards are files or in memory: how much memory is
    free changes no run.

    Images stay encoded until `fetch`: what the split leaves out is never decoded, and what it
    uses is decoded in parallel.

    Args:
        read: From an order of the shards, and how many to read in turns, to (index, encoded
            image, label).
        num_shards: How many shards there are.
        total: How many examples there are.
        decoder: From bytes to pixels.
        held: Where the examples are, in words.
        indices: Of the examples to use; all if None.
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
        self._indices = np.arange(total) if indices is None else np.sort(indices)
        self.size = len(self._indices)

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

    def select(self, indices: np.ndarray) -> "StreamSplit":
        return StreamSplit(
            self._read, self.num_shards, self.total, self._decoder, self.held, indices
        )

    def _chosen(self, order: Tensor, at_a_time: int) -> tf.data.Dataset:
        examples = self._read(order, min(at_a_time, self.num_shards))
        if self.size == self.total:
            return examples
        chosen = np.zeros(self.total, bool)
        chosen[self._indices] = True
        return examples.filter(lambda index, image, label: tf.gather(chosen, index))


def decode_batch(decoder: ImageDecoder, encoded: Tensor, crops: Tensor | None) -> Tensor:
    """Decodes a batch of images.

    Args:
        decoder: From bytes to pixels.
        encoded: The images' bytes, (batch,).
        crops: As of `Split.fetch`.

    Returns:
        uint8, (batch, height, width, channels).
    """
    spec = tf.TensorSpec(decoder.image_shape, tf.uint8)
    if crops is None:
        return tf.map_fn(decoder.whole, encoded, fn_output_signature=spec)
    return tf.map_fn(
        lambda values: decoder.random_crop(*values), (encoded, crops), fn_output_signature=spec
    )
