"""A host's share of every batch."""

import dataclasses
from typing import Any

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Share:
    """The rows of every global batch that this host's replicas take.

    Replica g of n takes the rows from ⌊size · g / n⌋ to ⌊size · (g + 1) / n⌋, a partition of
    batches of any size.

    Attributes:
        replicas: Number of replicas of all hosts.
        first: Index of this host's first replica.
        count: Number of this host's replicas.
    """

    replicas: int = 1
    first: int = 0
    count: int = 1

    def of(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Splits every batch into one element for each replica of this host.

        Args:
            batches: Batches of nested tensors whose first dimension is the batch's.

        Returns:
            The rows of each replica in turn.
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
