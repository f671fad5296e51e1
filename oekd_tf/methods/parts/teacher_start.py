"""A few steps of training for averaged networks, before they follow their students."""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import ops

from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts import losses
from oekd_tf.methods.parts.averages import Averages

# Of `fit` where none is given.
_KERAS_BATCH_SIZE = 32


def train(
    averages: Averages,
    ensemble: keras.Model,
    arguments: dict[str, Any],
    batches: int,
    rate: float,
) -> None:
    """Trains the averaged networks on the first batches, by the labels alone.

    Args:
        averages: Moving averages, which get the trained values.
        ensemble: The ensemble of which they are averages, compiled.
        arguments: Arguments of `fit`: x, y and batch_size. An iterator is replaced by one that
            begins with the batches that were read.
        batches: Number of batches.
        rate: Learning rate of plain SGD.
    """
    # Under JAX there is no such strategy.
    strategy = getattr(ensemble, "distribute_strategy", None)
    with strategy.scope() if strategy else contextlib.nullcontext():
        networks = averages.models(ensemble.students)
        everyone = _Everyone(networks)
        everyone.compile(keras.optimizers.SGD(rate), loss=_sum_of_losses, jit_compile=False)
    images, labels = arguments["x"], arguments["y"]
    if isinstance(images, Iterator):
        taken = list(itertools.islice(images, batches))
        for batch in taken:
            everyone.train_on_batch(*batch[:2])
        # Given back, or training would lack them.
        arguments["x"] = _begin_with(taken, images)
    else:
        steps: int | None = batches
        if labels is not None:
            size = batches * (arguments["batch_size"] or _KERAS_BATCH_SIZE)
            images, labels, steps = images[:size], labels[:size], None
        elif hasattr(images, "take"):
            images, steps = images.take(batches), None
        everyone.fit(
            images,
            labels,
            batch_size=arguments["batch_size"],
            steps_per_epoch=steps,
            epochs=1,
            shuffle=False,
            verbose=0,
        )
    for student, network in zip(ensemble.students, networks, strict=True):
        for variable, trained in zip(student.variables, network.variables, strict=True):
            average = averages.of(variable)
            if average is not None:
                average.assign(trained)


def _begin_with(first: list, others: Iterator) -> Iterator:
    # Keras takes generators, and no other iterators.
    yield from first
    yield from others


class _Everyone(keras.Model):
    """Several networks side by side, each on its view of the images if there are views."""

    def __init__(self, networks: Sequence[keras.Model]):
        super().__init__(name="mean_teachers")
        self.networks = list(networks)

    def call(self, images: Tensor, training: bool | None = None) -> Tensor:
        views = len(images.shape) == 5
        logits = [
            network(images[:, index] if views else images, training=training)
            for index, network in enumerate(self.networks)
        ]
        return ops.stack([ops.cast(one, "float32") for one in logits], axis=1)


def _sum_of_losses(labels: Tensor, logits: Tensor) -> Tensor:
    return ops.sum(losses.label_loss(labels, ops.transpose(logits, (1, 0, 2))), axis=0)
