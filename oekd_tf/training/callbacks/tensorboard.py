"""Keras's TensorBoard callback, which says in one line that it cannot write."""

from typing import Any

import keras

from oekd_tf.core.files import write_errors


class TensorBoard(keras.callbacks.TensorBoard):
    """Keras's callback of this name; arguments are those of Keras.

    TensorFlow's error of a full disk is a page of trace, and no OSError.

    Example:
        >>> ensemble.fit(train, epochs=30, callbacks=[TensorBoard("run/tensorboard")])
    """

    def set_model(self, model: keras.Model) -> None:
        with write_errors(self.log_dir):
            super().set_model(model)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        with write_errors(self.log_dir):
            super().on_epoch_end(epoch, logs)

    def on_test_end(self, logs: dict | None = None) -> None:
        with write_errors(self.log_dir):
            super().on_test_end(logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        with write_errors(self.log_dir):
            super().on_train_end(logs)
