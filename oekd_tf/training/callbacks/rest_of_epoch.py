"""Finishes an epoch that a run was stopped in."""

from typing import Any

import keras

from oekd_tf.training.callbacks.preemption import set_metric_totals


class RestOfEpoch(keras.callbacks.Callback):
    """Begins an epoch with the metrics' totals of the steps before, and ends training after it.

    Args:
        totals: As `metric_totals` returned them.

    Example:
        >>> ensemble.fit(rest, steps_per_epoch=40, initial_epoch=3, epochs=30,
        ...              callbacks=[RestOfEpoch(position.metrics)])
    """

    def __init__(self, totals: tuple[Any, ...]):
        super().__init__()
        self.totals = totals

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        set_metric_totals(self.model, self.totals)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.model.stop_training = True
