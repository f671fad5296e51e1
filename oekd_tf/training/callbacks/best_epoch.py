"""The callback that keeps the weights of the best epoch, and stops after it."""

from collections.abc import Callable
from pathlib import Path

import keras

from oekd_tf.core.errors import CheckpointError
from oekd_tf.models.directions import direction
from oekd_tf.training.callbacks import checkpoint_files
from oekd_tf.training.callbacks.checkpoint_files import Best, Position


class BestEpoch(keras.callbacks.Callback):
    """Keeps the weights of the epoch that was best by a log, and ends training some epochs later.

    Keras's `EarlyStopping` holds value, patience and weights in memory, where a killed process
    loses them. Here they are in files: weights in a checkpoint of their own, the rest in every
    checkpoint that `Checkpoints` writes, to which this is passed.

    Args:
        folder: Folder of the best epoch's checkpoint.
        monitor: Name of the log, such as "val_student_5_accuracy".
        patience: Number of epochs without a better value after which training ends, at least 1.
        min_delta: By how much a value must be better, at least 0.
        read_only: Whether to write no file; of several hosts only the chief writes.

    Attributes:
        state: Best value so far, its epoch and the epochs since; None before the first epoch.

    Raises:
        ValueError: `patience` or `min_delta` breaks its rule.

    Example:
        >>> best = BestEpoch("run/best", "val_teacher_accuracy", patience=5)
        >>> checkpoints = Checkpoints("run/checkpoints", best=best)
        >>> ensemble.fit(train, validation_data=held_out, epochs=90, callbacks=[best, checkpoints])
        >>> best.restore(ensemble)
    """

    def __init__(
        self,
        folder: str | Path,
        monitor: str,
        patience: int = 10,
        min_delta: float = 0.0,
        *,
        read_only: bool = False,
    ):
        super().__init__()
        if patience < 1:
            raise ValueError(f"patience must be at least 1. Received: {patience}")
        if min_delta < 0:
            raise ValueError(f"min_delta must be at least 0. Received: {min_delta}")
        self.folder = Path(folder)
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self.read_only = read_only
        self.state: Best | None = None

    @property
    def stopped(self) -> bool:
        """Whether training has ended."""
        return self.state is not None and self.state.waited >= self.patience

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if self.monitor not in (logs or {}):
            raise ValueError(
                f"monitor must be one of the logs of an epoch, {', '.join(logs or {})}. "
                f"Received: {self.monitor!r}"
            )
        value = float((logs or {})[self.monitor])
        if self._is_better(value):
            if not self.read_only:
                # Before the state says so; what was there stays until a checkpoint does.
                checkpoint_files.save(self.folder, self.model, Position(epoch + 1))
            self.state = Best(value, epoch + 1, 0)
        else:
            assert self.state is not None, "The first value is better than none"
            self.state = self.state._replace(waited=self.state.waited + 1)
        if self.stopped:
            self.model.stop_training = True

    def delete_unused(self, checkpoints: str | Path) -> None:
        """Deletes weights that neither this run nor one of its checkpoints would restore.

        Args:
            checkpoints: Folder of the run's checkpoints.
        """
        used = {best.epoch for best in checkpoint_files.best_epochs(checkpoints)}
        if self.state is not None:
            used.add(self.state.epoch)
        checkpoint_files.delete_others(self.folder, {Position(epoch).name for epoch in used})

    def restore(self, model: keras.Model) -> int:
        """Gives a model the weights of the best epoch.

        Args:
            model: The model, built and compiled as when it was trained.

        Returns:
            Number of the epoch, from 1.

        Raises:
            CheckpointError: There is no best epoch yet, or its files are damaged.
        """
        checkpoint_files.load(self.checked_path(), model)
        assert self.state is not None, "Its path is known"
        return self.state.epoch

    def checked_path(self) -> Path:
        """Path of the best epoch's checkpoint, whose files are as they were written.

        Raises:
            CheckpointError: There is none, or it is damaged.
        """
        if self.state is None:
            raise CheckpointError(f"There must be a best epoch in {self.folder}. Received: none")
        path = self.folder / Position(self.state.epoch).name
        if reason := checkpoint_files.find_damage(path):
            raise CheckpointError(
                f"The best epoch's checkpoint must be as it was written. Received: {path}, where "
                f"{reason}. Delete {self.folder.parent} to start over."
            )
        return path

    def describe(self, epochs: int) -> str:
        """The state in words.

        Args:
            epochs: Number of epochs that were planned.

        Returns:
            For instance "stopped after epoch 9 of 30; val_loss was best in epoch 4, 1.2034".
        """
        assert self.state is not None, "An epoch was trained"
        done = self.state.epoch + self.state.waited
        ended = f"stopped after epoch {done} of {epochs}; " if done < epochs else ""
        return f"{ended}{self.monitor} was best in epoch {self.state.epoch}, {self.state.value:.4f}"

    def _is_better(self, value: float) -> bool:
        if self.state is None:
            return True
        if direction(self.monitor) == "max":
            return value - self.min_delta > self.state.value
        return value + self.min_delta < self.state.value


def restore_best(
    workdir: str | Path, position: Position, model: keras.Model, log: Callable[[str], None]
) -> None:
    """Gives a restored model the weights of its run's best epoch.

    Args:
        workdir: Folder of the run.
        position: Position of the checkpoint that was restored.
        model: The model.
        log: Called with a message.

    Raises:
        CheckpointError: The files of the best epoch are missing or damaged.
    """
    if position.best is None:
        return
    best = BestEpoch(Path(workdir) / "best", "")
    best.state = position.best
    log(f"weights of epoch {best.restore(model)}, the best")
