"""Which way is up for Keras's callbacks that monitor a log."""

from collections.abc import Collection
from typing import Any

import keras

from oekd_tf.core.keras_internals import monitors_blindly


def direction(log: str) -> str:
    """Which way a log of an ensemble or a student is better.

    Args:
        log: Name of the log, with or without "val_".

    Returns:
        "max" for an accuracy, "min" for a loss.

    Example:
        >>> direction("val_student_2_accuracy")
        'max'
    """
    return "max" if log.endswith("accuracy") else "min"


def tell_directions(callbacks: Any, logs: Collection[str]) -> None:
    """Tells callbacks with mode="auto" which way is up, before anything is trained.

    Keras looks it up after the first epoch, and finds it for metrics of `compile` only.

    Args:
        callbacks: Argument of `fit`: a callback, a list of callbacks, or None.
        logs: Names of the logs, without "val_"; others are left to Keras.

    Example:
        >>> tell_directions([keras.callbacks.EarlyStopping("val_loss")], ["loss"])
    """
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = callbacks.callbacks
    if isinstance(callbacks, keras.callbacks.Callback):
        callbacks = [callbacks]
    for callback in callbacks or []:
        if monitors_blindly(callback) and callback.monitor.removeprefix("val_") in logs:
            callback.mode = direction(callback.monitor)
