"""Checkpoints that a run goes on from."""

import re
from pathlib import Path

import keras

from oekd_tf.atomic import temporary_path

_PATTERN = re.compile(r"epoch_(\d+)\.weights\.h5")


class Checkpoints(keras.callbacks.Callback):
    """Saves weights and optimizer state every few epochs and keeps the newest files.

    A file is written beside its place and then renamed, so that one that has its name is whole.

    Args:
        folder: Where the files go.
        every: Epochs from one checkpoint to the next; the last epoch always gets one.
        kept: How many of the newest stay.

    Raises:
        ValueError: `every` or `kept` is below 1.

    Example:
        >>> checkpoints = Checkpoints("run/checkpoints", every=5)
        >>> first = checkpoints.restore(ensemble)
        >>> ensemble.fit(train, epochs=30, initial_epoch=first, callbacks=[checkpoints])
    """

    def __init__(self, folder: str | Path, every: int = 1, kept: int = 2):
        super().__init__()
        for name, value in (("every", every), ("kept", kept)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1. Received: {value}")
        self.folder = Path(folder)
        self.every = every
        self.kept = kept

    def restore(self, model: keras.Model) -> int:
        """Loads the newest checkpoint into a compiled model.

        Args:
            model: Built and compiled as it was when the checkpoint was saved.

        Returns:
            The number of epochs that the checkpoint had done; 0 if there is none.
        """
        found = self._found()
        if not found:
            return 0
        epochs, path = found[-1]
        model.load_weights(path)
        return epochs

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        epochs = epoch + 1
        if epochs % self.every and epochs != self.params.get("epochs"):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"epoch_{epochs:05d}.weights.h5"
        with temporary_path(path) as partial:
            self.model.save_weights(partial)
        for _, old in self._found()[: -self.kept]:
            old.unlink()

    def _found(self) -> list[tuple[int, Path]]:
        if not self.folder.is_dir():
            return []
        matches = ((_PATTERN.fullmatch(path.name), path) for path in self.folder.iterdir())
        return sorted((int(match[1]), path) for match, path in matches if match)
