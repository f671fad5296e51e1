"""The callback that trains the pseudo teacher alone in the first epochs."""

import keras


class PseudoTeacherFirst(keras.callbacks.Callback):
    """Trains only the stem and student 1 in the first epochs, on the label loss.

    Not in the paper; the authors' published code has it.

    Args:
        epochs: Number of these epochs, counted from the start of the run, also after a resume.

    Raises:
        ValueError: `epochs` is below 0.

    Example:
        >>> ensemble.fit(train, epochs=30, callbacks=[PseudoTeacherFirst(epochs=3)])
    """

    def __init__(self, epochs: int):
        super().__init__()
        if epochs < 0:
            raise ValueError(f"epochs must be at least 0. Received: {epochs}")
        self.epochs = epochs

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.model.pseudo_teacher_only = epoch < self.epochs

    def on_train_end(self, logs: dict | None = None) -> None:
        self.model.pseudo_teacher_only = False
