"""The callback that writes and restores checkpoints."""

import time
from collections.abc import Callable
from pathlib import Path

import keras

from oekd_tf.core.errors import CheckpointError
from oekd_tf.training.callbacks import checkpoint_files
from oekd_tf.training.callbacks.best_epoch import BestEpoch
from oekd_tf.training.callbacks.checkpoint_files import Position


class Checkpoints(keras.callbacks.Callback):
    """Saves weights and optimizer state every few epochs, and keeps the newest checkpoints.

    Checkpoints are written atomically, and their SHA-256 is verified when they are restored.

    Keras's `BackupAndRestore` and Orbax save neither the metrics of an unfinished epoch nor a
    digest, and HDF5 ends the process on a full disk.

    Args:
        folder: Folder of the checkpoints.
        every: Number of epochs between checkpoints; there is always one of the last epoch.
        kept: Number of newest checkpoints to keep. With 2, there is an older one if the newest is
            damaged.
        read_only: Whether to write none; of several hosts only the chief writes.
        best: Callback that keeps the best epoch, whose state each checkpoint then holds; it must
            be called before this one.

    Raises:
        ValueError: `every` or `kept` is below 1.

    Example:
        >>> checkpoints = Checkpoints("run/checkpoints", every=5)
        >>> first = checkpoints.restore(ensemble)
        >>> ensemble.fit(train, epochs=30, initial_epoch=first, callbacks=[checkpoints])
    """

    def __init__(
        self,
        folder: str | Path,
        every: int = 1,
        kept: int = 2,
        *,
        read_only: bool = False,
        best: BestEpoch | None = None,
    ):
        super().__init__()
        for name, value in (("every", every), ("kept", kept)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1. Received: {value}")
        self.folder = Path(folder)
        self.every = every
        self.kept = kept
        self.read_only = read_only
        self.best = best
        self._seconds = 0.0
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return self._seconds + time.monotonic() - self._start

    def restore(self, model: keras.Model) -> int:
        """Restores the newest checkpoint that is not damaged.

        Args:
            model: Model that is built and compiled as when the checkpoint was saved.

        Returns:
            Number of epochs that it was trained; 0 if there is no checkpoint.

        Raises:
            CheckpointError: All checkpoints are damaged, or of another network.
        """
        return self.restore_position(model, log=print).epochs

    def restore_position(
        self,
        model: keras.Model,
        log: Callable[[str], None] = print,
        epochs: int | None = None,
        steps: int | None = None,
    ) -> Position:
        """Restores like `restore`, for a run that may have been stopped within an epoch.

        Args:
            model: Model that is built and compiled as when the checkpoint was saved.
            log: Called with a message for each damaged checkpoint.
            epochs: Number of epochs of the run: a checkpoint of more is damaged.
            steps: Number of steps of an epoch, likewise.

        Returns:
            Progress of the run.

        Raises:
            CheckpointError: All checkpoints are damaged, or of another network.
        """
        self._start = time.monotonic()
        found = checkpoint_files.newest_first(self.folder)
        for path in found:
            reason = checkpoint_files.find_damage(path) or _beyond(path, epochs, steps)
            if reason:
                log(f"checkpoint {path} is damaged ({reason}); trying the one before")
                continue
            position = checkpoint_files.load(path, model)
            if self.best:
                self.best.state = position.best
            self._seconds = position.seconds
            return position
        if found:
            raise CheckpointError(
                f"All {len(found)} checkpoints in {self.folder} are damaged; cannot resume. "
                f"Delete {self.folder} to start over."
            )
        return Position()

    def save(self, position: Position) -> Path | None:
        """Writes a checkpoint now.

        Args:
            position: Progress of the training; its `seconds` are set here.

        Returns:
            Path of the checkpoint; None if this process writes none.
        """
        if self.read_only:
            return None
        state = self.best.state if self.best else None
        position = position._replace(seconds=round(self.seconds, 3), best=state)
        path = checkpoint_files.save(self.folder, self.model, position)
        checkpoint_files.delete_old(self.folder, self.kept)
        if self.best:
            self.best.delete_unused(self.folder)
        return path

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        epochs = epoch + 1
        last = epochs == self.params.get("epochs") or (self.best is not None and self.best.stopped)
        if epochs % self.every == 0 or last:
            self.save(Position(epochs))


def _beyond(path: Path, epochs: int | None, steps: int | None) -> str:
    """What a position has more than the run; "" if nothing."""
    found = checkpoint_files.read_position(path)
    for what, count, most in (("epochs", found.epochs, epochs), ("steps", found.steps, steps)):
        if most is not None and count > most:
            return f"it is of {count:,} {what}, of {most:,}"
    return ""
