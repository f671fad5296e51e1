"""The callback that calls a method's `after_epoch`."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import keras


class AfterEpoch(keras.callbacks.Callback):
    """Calls the method's `after_epoch`, before a checkpoint of the epoch is written.

    `OnlineEnsemble.fit` adds one for a method that defines the hook.

    Args:
        held_out: Batches of validation images and labels; None if there are none.

    Raises:
        ValueError: The method cannot do without validation data, and there are none; when training
            begins.

    Example:
        >>> ensemble.fit(train, epochs=30, callbacks=[AfterEpoch(validation), checkpoints])
    """

    def __init__(self, held_out: Iterable | None = None):
        super().__init__()
        self.held_out = held_out

    def on_train_begin(self, logs: dict | None = None) -> None:
        if self.held_out is None and self.model.method.needs_held_out:
            raise ValueError(
                "validation_data must be given, because the method estimates its weights on them "
                f"after each epoch. Received: None with the method {self.model.method.name!r}"
            )

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.model.method.after_epoch(self.model, self.held_out)

    @classmethod
    def added(cls, callbacks: Any, validation_data: Any) -> Any:
        """Adds a callback of this class to those of `fit`, if there is none.

        Args:
            callbacks: Argument of `fit`: a callback, a list of callbacks, or None.
            validation_data: Argument of `fit`; arrays become a single batch.

        Returns:
            The callbacks, one of this class first.
        """
        if isinstance(validation_data, tuple | list):
            validation_data = [tuple(validation_data[:2])]
        return begin_with(callbacks, cls, lambda: cls(validation_data))


def split_off(arguments: dict[str, Any]) -> None:
    """Gives `fit` the end of its arrays as validation data, as its `validation_split` asks.

    Keras does so too, but too late for a callback to have them.

    Args:
        arguments: Arguments of `fit`, which are changed in place.
    """
    share, images = arguments["validation_split"], arguments["x"]
    if not share or arguments["validation_data"] is not None or arguments["y"] is None:
        return
    at = math.floor(len(images) * (1.0 - share))
    names = [n for n in ("x", "y", "sample_weight") if arguments[n] is not None]
    arguments["validation_data"] = tuple(arguments[name][at:] for name in names)
    arguments |= {name: arguments[name][:at] for name in names}
    arguments["validation_split"] = 0.0


def begin_with(
    callbacks: Any, kind: type[keras.callbacks.Callback], make: Callable[[], Any]
) -> Any:
    """Callbacks of `fit` that begin with one of a kind, unless one is there.

    Args:
        callbacks: Argument of `fit`: a callback, a list of callbacks, or None. A `CallbackList`
            is returned as it is.
        kind: The class.
        make: Makes the one to add.

    Returns:
        The callbacks.
    """
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    one = isinstance(callbacks, keras.callbacks.Callback)
    there = [callbacks] if one else list(callbacks or [])
    return there if any(isinstance(c, kind) for c in there) else [make(), *there]
