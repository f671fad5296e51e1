"""The callback that leaves the stem as it is in the first epochs."""

from typing import Any

import keras


class FrozenStem(keras.callbacks.Callback):
    """Leaves the stem as it is in the first epochs, for students that begin with trained weights.

    Layers after it then get used to new data before the stem moves. Its moving statistics stay,
    too. A student that is trained alone is treated as the ensemble is.

    Args:
        epochs: Number of these epochs, counted from the start of the run, also after a resume.

    Raises:
        ValueError: `epochs` is below 0.

    Example:
        >>> ensemble.fit(train, epochs=30, callbacks=[FrozenStem(epochs=3)])
    """

    def __init__(self, epochs: int):
        super().__init__()
        if epochs < 0:
            raise ValueError(f"epochs must be at least 0. Received: {epochs}")
        self.epochs = epochs

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        _freeze(self.model, epoch < self.epochs)

    def on_train_end(self, logs: dict | None = None) -> None:
        _freeze(self.model, False)


def _freeze(model: Any, value: bool) -> None:
    if hasattr(model, "stem_frozen"):
        model.stem_frozen = value
        return
    layers = [layer for layer in model.layers if layer.name.startswith("stem")]
    if not layers or layers[0].trainable is not value:
        return
    for layer in layers:
        layer.trainable = not value
    model.make_train_function(force=True)
