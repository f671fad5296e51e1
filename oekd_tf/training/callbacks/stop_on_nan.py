"""The callback that stops a run when its loss is NaN or infinite."""

import math

import keras

from oekd_tf.core.errors import NonFiniteLossError


class StopOnNan(keras.callbacks.Callback):
    """Raises `NonFiniteLossError` at the first batch whose logs are not finite.

    Keras's `TerminateOnNaN` ends training as if it had succeeded; a run must fail instead, and keep
    its last checkpoint.

    Example:
        >>> ensemble.fit(train, epochs=30, callbacks=[StopOnNan()])
    """

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
                f"Training stopped: every loss must be finite; lower the learning rate, clip "
                f"gradients, or check the images. Received: {term}={logs[term]} in epoch "
                f"{self._epoch + 1} at {when}"
            )
