"""The callback that resumes within an epoch."""

from typing import Any

import keras

from oekd_tf.training.callbacks.preemption import set_metric_totals


class RestOfEpoch(keras.callbacks.Callback):
    """Restores the metrics of the epoch's earlier steps, and ends training after the epoch.

    Args:
        totals: State of the metrics, from `metric_totals`.

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
