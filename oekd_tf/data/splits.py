"""The examples of one split: in memory, or streamed from files."""

import functools
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

# Examples that a streamed epoch is shuffled among.
SHUFFLE_BUFFER = 10_000


class Split(Protocol):
    """Examples as (index, image, label), where an example's index never changes.

    A split is read in two steps, references first and then what they refer to: the first decides
    the order, the second can run in parallel. A reference, or the first part of it, is the
    example's index.

    Attributes:
        size: How many examples there are.
        total: How many there were before any `select`; indices are below it.
    """

    size: int
    total: int

    def ordered(self) -> tf.data.Dataset:
        """References to all examples in a fixed order."""

    def shuffled(self, seed: int, epoch: Any) -> tf.data.Dataset:
        """References to all examples in an order that is a function of (seed, epoch)."""

    def fetch(self, references: Any) -> tuple[Any, Any, Any]:
        """The (indices, images, labels) that a reference, or a batch of them, stands for."""

    def select(self, indices: np.ndarray) -> "Split":
        """The split of these examples only."""

    def arrays(self, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The first `count` images (uint8) and labels (int32); all if None."""


class ArraySplit:
    """Examples held in memory, shuffled as a whole.

    Args:
        images: uint8, (examples, height, width, channels).
        labels: int32, (examples,).
        indices: Of the examples to use; all if None.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, indices: np.ndarray | None = None):
        self._images = images
        self._labels = labels
        self.total = len(labels)
        self._indices = np.arange(len(labels)) if indices is None else np.sort(indices)
        self.size = len(self._indices)

    @property
    def labels(self) -> np.ndarray:
        return self._labels[self._indices]

    def ordered(self) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(self._indices)

    def shuffled(self, seed: int, epoch: Any) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.constant(self._indices), seed=tf.stack([tf.cast(seed, tf.int64), epoch])
        )
        return tf.data.Dataset.from_tensor_slices(order)

    def fetch(self, references: Any) -> tuple[Any, Any, Any]:
        images, labels = self._tensors
        return references, tf.gather(images, references), tf.gather(labels, references)

    def select(self, indices: np.ndarray) -> "ArraySplit":
        return ArraySplit(self._images, self._labels, indices)

    def arrays(self, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        indices = self._indices[:count]
        return self._images[indices], self._labels[indices]

    @functools.cached_property
    def _tensors(self) -> tuple[tf.Tensor, tf.Tensor]:
        # Made outside of any graph, so that a graph captures the array instead of copying it.
        with tf.init_scope():
            return tf.constant(self._images), tf.constant(self._labels)


class StreamSplit:
    """Examples read from files at every epoch, shuffled within a buffer.

    Images stay encoded until `fetch`: what the split leaves out is never decoded, and what it
    uses is decoded in parallel.

    Args:
        examples: (encoded image, label) in the same order whenever it is read.
        total: How many there are.
        decode: From one encoded image to uint8 (height, width, channels).
        image_shape: (height, width, channels).
        indices: Of the examples to use; all if None.
    """

    def __init__(
        self,
        examples: tf.data.Dataset,
        total: int,
        decode: Callable[[Any], Any],
        image_shape: tuple[int, int, int],
        indices: np.ndarray | None = None,
    ):
        self._examples = examples
        self._decode = decode
        self._image = tf.TensorSpec(image_shape, tf.uint8)
        self.total = total
        self._indices = np.arange(total) if indices is None else np.sort(indices)
        self.size = len(self._indices)

    def ordered(self) -> tf.data.Dataset:
        numbered = self._examples.enumerate().map(lambda index, example: (index, *example))
        if self.size == self.total:
            return numbered
        chosen = np.zeros(self.total, bool)
        chosen[self._indices] = True
        return numbered.filter(lambda index, image, label: tf.gather(chosen, index))

    def shuffled(self, seed: int, epoch: Any) -> tf.data.Dataset:
        seeds = tf.cast(tf.random.fold_in(tf.stack([tf.cast(seed, tf.int64), epoch]), 0), tf.int64)
        examples = self.ordered()
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

    def fetch(self, references: Any) -> tuple[Any, Any, Any]:
        indices, encoded, labels = references
        if encoded.shape.rank == 0:
            return indices, self._decode(encoded), labels
        return indices, tf.map_fn(self._decode, encoded, fn_output_signature=self._image), labels

    def select(self, indices: np.ndarray) -> "StreamSplit":
        shape = tuple(self._image.shape)
        return StreamSplit(self._examples, self.total, self._decode, shape, indices)

    def arrays(self, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        examples = self.ordered().take(-1 if count is None else count)
        images, labels = [], []
        decoded = examples.map(lambda *reference: self.fetch(reference), tf.data.AUTOTUNE)
        for _, image, label in decoded.as_numpy_iterator():
            images.append(image)
            labels.append(label)
        return np.stack(images), np.array(labels, np.int32)
