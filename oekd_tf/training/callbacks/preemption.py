"""The callback that saves a checkpoint and ends a run on SIGTERM or Ctrl-C."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras

from oekd_tf.core.errors import Preempted
from oekd_tf.core.signals import end_at_once, in_command, title
from oekd_tf.core.streams import saving_when_unread
from oekd_tf.core.variables import as_array
from oekd_tf.training.callbacks.checkpoint_files import Position
from oekd_tf.training.callbacks.checkpoints import Checkpoints


class Preemption(keras.callbacks.Callback):
    """Saves a checkpoint and ends the process after the step in which a signal was received.

    The signals are SIGTERM and Ctrl-C; a second Ctrl-C ends the process at once. A pipe that
    takes the output and is closed counts as a signal.

    Args:
        checkpoints: Callback that writes the checkpoint.
        steps_per_epoch: Number of steps per epoch.
        first_step: Number of steps of the first epoch that were finished before a resume.
        agree: Function of whether this host received a signal to whether any host did, because all
            hosts must stop at the same step.

    Raises:
        Preempted: A signal was received; raised by `fit`, or at once before the first step.

    Example:
        >>> preemption = Preemption(checkpoints, steps_per_epoch=390)
        >>> with preemption.listening():
        ...     ensemble.fit(train, steps_per_epoch=390, callbacks=[checkpoints, preemption])
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        steps_per_epoch: int,
        first_step: int = 0,
        agree: Callable[[bool], bool] = bool,
    ):
        super().__init__()
        self.checkpoints = checkpoints
        self.steps_per_epoch = steps_per_epoch
        self.agree = agree
        self._first_step = first_step
        self._asked = False
        # Of a host that stops because another received a signal, too.
        self._number: int = signal.SIGTERM
        self._position: Position | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handles signals while the block runs; does nothing in a thread, which gets none."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGTERM, signal.SIGINT)
        previous = [signal.signal(number, self._ask) for number in numbers]
        try:
            with saving_when_unread(lambda: self._ask(signal.SIGPIPE, None)):
                yield
            if self._asked:
                raise self._preempted("after the last epoch")
        finally:
            for number, handler in zip(numbers, previous, strict=True):
                signal.signal(number, handler)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._position = Position(self._epoch, self._first_step + batch + 1)
        self._stop_if_asked(self._position)

    def on_test_begin(self, logs: dict | None = None) -> None:
        # Validation is about to reset the metrics of the epoch.
        if self._position and self._position.steps:
            self._position = self._position._replace(metrics=metric_totals(self.model))

    def on_test_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self._position:
            self._stop_if_asked(self._position)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        # Called after the checkpoints' callback, which may have skipped this epoch.
        self._first_step = 0
        self._position = Position(epoch + 1)
        self._stop_if_asked(self._position)

    def _ask(self, number: int, _: Any) -> None:
        if self._asked and number == signal.SIGINT:
            end_at_once(
                "stopped at once by a second Ctrl-C; run the same command again to resume from "
                "the checkpoint before"
            )
        self._asked, self._number = True, number
        if self._position is None:
            stop = self._preempted("before the first step")
            if in_command():
                # What is raised in native code that traces the step may crash it.
                end_at_once(stop.message, number)
            raise stop

    def _preempted(self, where: str) -> Preempted:
        return Preempted(f"stopped by {title(self._number)} {where}", self._number)

    def _stop_if_asked(self, position: Position) -> None:
        if not self.agree(self._asked):
            return
        if position.steps and not position.metrics:
            position = position._replace(metrics=metric_totals(self.model))
        self.checkpoints.save(position)
        where = f"after epoch {position.epochs}"
        where += f" and {position.steps} of {self.steps_per_epoch} steps" if position.steps else ""
        raise self._preempted(f"{where}; run the same command again to resume from there")


def metric_totals(model: keras.Model) -> tuple[Any, ...]:
    """The state of a model's metrics, over all replicas.

    Args:
        model: The model.

    Returns:
        Values of the metrics' variables, in their order.
    """
    return tuple(
        as_array(variable).copy() for metric in model.metrics for variable in metric.variables
    )


def set_metric_totals(model: keras.Model, totals: tuple[Any, ...]) -> None:
    """Restores the state of a model's metrics.

    Args:
        model: The model.
        totals: Values of the metrics' variables, from `metric_totals`.
    """
    variables = [variable for metric in model.metrics for variable in metric.variables]
    for variable, total in zip(variables, totals, strict=True):
        variable.assign(total)
