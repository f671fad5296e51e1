"""Sums over validation images of what all students make of them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from oekd_tf.core.types import Tensor

# Of an array, which comes as one batch, so many images at once.
_PART = 256


class HeldOutSums:
    """Sums over batches, whichever backend, replicas and hosts there are.

    Args:
        function: From all students' logits (students, batch, classes) and labels to scalars or
            arrays that are sums over the batch.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], tuple[Tensor, ...]]):
        self._function = function
        self._step: Any = None

    def __call__(self, ensemble: keras.Model, held_out: Iterable) -> list[np.ndarray]:
        """The sums over all batches.

        Args:
            ensemble: The ensemble.
            held_out: Batches of images and labels, of a data set that is distributed or not.

        Returns:
            What the function gives, added up; of data that each replica has as a whole, as many
            times as there are replicas.
        """
        if self._step is None:
            tensorflow = keras.backend.backend() == "tensorflow"
            self._step = self._under_tensorflow(ensemble) if tensorflow else self._plain(ensemble)
        totals: list[np.ndarray] = []
        for images, labels in _parts(held_out):
            found = [np.asarray(ops.convert_to_numpy(v), float) for v in self._step(images, labels)]
            totals = [a + b for a, b in zip(totals, found, strict=True)] if totals else found
        return totals

    def _plain(self, ensemble: keras.Model) -> Callable:
        def step(images: Any, labels: Any) -> tuple[Tensor, ...]:
            return self._function(_logits(ensemble, ensemble.predict_on_batch(images)), labels)

        return step

    def _under_tensorflow(self, ensemble: keras.Model) -> Callable:
        import tensorflow as tf

        strategy = ensemble.distribute_strategy

        def on_replica(images: Any, labels: Any) -> tuple[Tensor, ...]:
            return self._function(_logits(ensemble, ensemble(images, training=False)), labels)

        @tf.function(reduce_retracing=True)
        def step(images: Any, labels: Any) -> list[Tensor]:
            found = strategy.run(on_replica, args=(images, labels))
            return [strategy.reduce("SUM", value, axis=None) for value in found]

        return step


def _logits(ensemble: keras.Model, outputs: dict) -> Tensor:
    return ops.stack([outputs[student.name] for student in ensemble.students])


def _parts(held_out: Iterable) -> Iterator[tuple[Any, Any]]:
    for images, labels, *_ in held_out:
        if not isinstance(images, np.ndarray):
            yield images, labels
            continue
        for start in range(0, len(images), _PART):
            part = slice(start, start + _PART)
            yield images[part], np.asarray(labels)[part]
