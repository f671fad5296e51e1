"""Checkpoints as folders that are whole or not there, and are checked when they are read."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from oekd_tf.replacement import remove, replaced

_NAME = re.compile(r"epoch_(\d{5,})(?:_step_(\d{7,}))?")
_WEIGHTS = "model.weights.h5"
_STATE = "checkpoint.json"


class CheckpointError(ValueError):
    """A checkpoint is not whole, or is of another network."""


class Position(NamedTuple):
    """How far a run has come.

    Attributes:
        epochs: Finished.
        steps: Of the next epoch; above 0 only where a run was stopped within an epoch. All of
            them where it was stopped in the validation at the epoch's end.
        seconds: Of training so far.
        metrics: Running totals of the epoch's losses and accuracies, in the order of the model's
            metric variables; empty between epochs.
    """

    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    metrics: tuple[Any, ...] = ()

    @property
    def name(self) -> str:
        step = f"_step_{self.steps:07d}" if self.steps else ""
        return f"epoch_{self.epochs:05d}{step}"


def save(folder: str | Path, model: keras.Model, position: Position) -> Path:
    """Writes a checkpoint: the model's weights, its optimizer's and metrics' state, the position.

    It is on the disk, whole, before it has its name: a process that is killed, a full disk or a
    machine that loses power leaves no part of one.

    Args:
        folder: Where checkpoints lie.
        model: A compiled model.
        position: How far it is trained.

    Returns:
        The checkpoint's path.

    Raises:
        OSError: It could not be written.
    """
    path = Path(folder) / position.name
    with replaced(path, overwrite=True) as partial:
        weights = partial / _WEIGHTS
        try:
            model.save_weights(weights)
        except RuntimeError as error:  # HDF5's own, for instance of a full disk.
            raise OSError(f"{folder} must be writable. Received: {error}") from error
        state = {
            "epochs": position.epochs,
            "steps": position.steps,
            "seconds": position.seconds,
            "metrics": [np.asarray(value).tolist() for value in position.metrics],
            "random": [np.array(state).tolist() for state in _random_states(model)],
            "bytes": weights.stat().st_size,
            "sha256": _sha256(weights),
        }
        (partial / _STATE).write_text(json.dumps(state, indent=2) + "\n")
        for written in (weights, partial / _STATE, partial):
            _flush(written)
    _flush(Path(folder))
    return path


def load(path: str | Path, model: keras.Model) -> Position:
    """Reads a checkpoint into a model that is built and compiled as it was when it was saved.

    Args:
        path: Of the checkpoint.
        model: Its weights and its optimizer's state are replaced.

    Returns:
        How far it is trained.

    Raises:
        CheckpointError: The checkpoint is of another network.
    """
    path = Path(path)
    state = json.loads((path / _STATE).read_text())
    try:
        model.load_weights(path / _WEIGHTS)
    except (KeyError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"A checkpoint must be of this network. Received: {path}, of which Keras says: {reason}"
        ) from error
    for variable, value in zip(_random_states(model), state["random"], strict=True):
        variable.assign(np.asarray(value, variable.dtype))
    metrics = tuple(np.asarray(value) for value in state["metrics"])
    return Position(state["epochs"], state["steps"], state["seconds"], metrics)


def damage(path: str | Path) -> str:
    """What is wrong with a checkpoint's files; empty if nothing is.

    Args:
        path: Of the checkpoint.

    Returns:
        A few words, for instance "its weights are not those that were written".
    """
    path = Path(path)
    try:
        state = json.loads((path / _STATE).read_text())
        size, digest = state["bytes"], state["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{_STATE} cannot be read"
    weights = path / _WEIGHTS
    if not weights.is_file():
        return f"{_WEIGHTS} is missing"
    if weights.stat().st_size != size:
        return f"{_WEIGHTS} has {weights.stat().st_size:,} bytes, not {size:,}"
    if _sha256(weights) != digest:
        return f"{_WEIGHTS} has other content than was written"
    return ""


def newest_first(folder: str | Path) -> list[Path]:
    """The checkpoints in a folder, whole or not, the farthest trained first."""
    return [path for _, path in sorted(_found(Path(folder)), reverse=True)]


def keep(folder: str | Path, count: int) -> None:
    """Deletes all but the newest checkpoints.

    Args:
        folder: Where they lie.
        count: How many stay.
    """
    for path in newest_first(folder)[count:]:
        # Out of sight first: what is half deleted must not look like a checkpoint.
        gone = path.with_name(f".partial-{os.getpid()}-{path.name}")
        path.rename(gone)
        remove(gone)


def remove_abandoned(folder: str | Path) -> None:
    """Deletes what a killed process was writing or deleting; nobody else may be using the folder.

    Args:
        folder: Where checkpoints lie.
    """
    for path in Path(folder).glob(".partial-*"):
        remove(path)


def _random_states(model: keras.Model) -> list[Any]:
    """What dropout draws from, which Keras leaves out of saved weights."""
    return [v for v in model.variables if v.name == "seed_generator_state"]


def _found(folder: Path) -> Iterator[tuple[tuple[int, int], Path]]:
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := _NAME.fullmatch(path.name):
            yield (int(match[1]), int(match[2] or 0)), path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
