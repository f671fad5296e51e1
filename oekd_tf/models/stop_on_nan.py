"""The callback that stops a run when its loss is NaN or infinite."""

import math
from typing import Any

import keras

from oekd_tf.core.errors import NonFiniteLossError
from oekd_tf.models.after_epoch import begin_with


class StopOnNan(keras.callbacks.Callback):
    """Raises `NonFiniteLossError` at the first batch whose logs are not finite.

    Keras's `TerminateOnNaN` ends training as if it had succeeded; a run must fail instead, and keep
    its last checkpoint. `fit` of an ensemble adds one where the step itself asserts nothing: under
    JAX, and with XLA.

    Example:
        >>> ensemble.fit(train, epochs=30, callbacks=[StopOnNan()])
    """

    # Keras may go on with the next steps meanwhile; it waits before an epoch ends.
    async_safe = True

    @classmethod
    def added(cls, callbacks: Any) -> Any:
        """Puts a callback of this class before those of `fit`, if there is none."""
        return begin_with(callbacks, cls, cls)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._check(logs, f"step {batch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._check(logs, "its end")

    def _check(self, logs: dict | None, when: str) -> None:
        logs = logs or {}
        wrong = [name for name, value in logs.items() if not math.isfinite(value)]
        if wrong:
            # A term of the loss is more informative than their sum.
            term = next((name for name in wrong if name != "loss"), wrong[0])
            raise NonFiniteLossError(
                "Training stopped: every loss and gradient must be finite; lower the learning "
                "rate, clip gradients, or check the images. "
                f"Received: {term}={logs[term]} in epoch {self._epoch + 1} at {when}"
            )
