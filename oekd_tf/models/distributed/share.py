"""A host's part of every batch."""

import dataclasses
from typing import Any

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Share:
    """Which rows of every global batch this host's replicas take.

    Replica g of n takes the rows from ⌊size · g / n⌋ to ⌊size · (g + 1) / n⌋: all of them
    together the whole batch, none a row twice, whatever the batch's size.

    Attributes:
        replicas: Of all hosts together.
        first: The first replica of this host.
        count: How many this host has.
    """

    replicas: int = 1
    first: int = 0
    count: int = 1

    def of(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """One element a replica of this host in place of every batch.

        Args:
            batches: Of nested tensors whose first dimension is the batch's.

        Returns:
            The rows, replica by replica.
        """
        if self.replicas == 1:
            return batches
        mine = range(self.first, self.first + self.count)
        if self.count == 1:
            return batches.map(lambda *batch: self._rows(batch, mine[0]))
        numbers = tf.data.Dataset.from_tensor_slices(tf.constant(mine, tf.int64))
        return batches.flat_map(
            lambda *batch: numbers.map(lambda replica: self._rows(batch, replica))
        )

    def _rows(self, batch: tuple, replica: Any) -> Any:
        size = tf.shape(tf.nest.flatten(batch)[0], tf.int64)[0]
        start, end = size * replica // self.replicas, size * (replica + 1) // self.replicas
        rows = tf.nest.map_structure(lambda part: part[start:end], batch)
        return rows if len(rows) > 1 else rows[0]
