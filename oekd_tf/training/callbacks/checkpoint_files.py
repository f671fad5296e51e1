"""Checkpoint files: atomic writes, and detection of damaged files."""

import contextlib
import json
import os
import re
import secrets
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from oekd_tf.core.array_files import check_arrays
from oekd_tf.core.errors import CheckpointError, one_line
from oekd_tf.core.files import remove, replaced, sha256, write_errors
from oekd_tf.core.json_files import digest, parse_json, read_file
from oekd_tf.core.records import CheckpointState
from oekd_tf.core.variables import as_array

_NAME = re.compile(r"epoch_(\d{5,})(?:_step_(\d{7,}))?")
_ARRAYS = "arrays.npz"
_STATE = "checkpoint.json"


class Best(NamedTuple):
    """The best epoch of a run so far.

    Attributes:
        value: Value of the log that is monitored.
        epoch: Number of the epoch, from 1.
        waited: Number of epochs since.
    """

    value: float
    epoch: int
    waited: int


class Position(NamedTuple):
    """Progress of a run.

    Attributes:
        epochs: Number of finished epochs.
        steps: Number of finished steps of the next epoch; above 0 only if a run was stopped within
            an epoch. All steps if it was stopped in the validation at the epoch's end.
        seconds: Seconds of training so far.
        metrics: State of the epoch's metrics, in the order of the model's metric variables; empty
            between epochs.
        best: The best epoch so far, where it is kept.
    """

    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    metrics: tuple[Any, ...] = ()
    best: Best | None = None

    @property
    def name(self) -> str:
        step = f"_step_{self.steps:07d}" if self.steps else ""
        return f"epoch_{self.epochs:05d}{step}"


def save(folder: str | Path, model: keras.Model, position: Position) -> Path:
    """Writes a checkpoint: the model's weights, its optimizer's state and the position.

    The write is atomic: files are flushed to disk before the folder is renamed, so that a killed
    process, a full disk or a loss of power leaves no partial checkpoint.

    Args:
        folder: Folder of the checkpoints.
        model: A compiled model.
        position: Progress of its training.

    Returns:
        Path of the checkpoint.

    Raises:
        OSError: The checkpoint could not be written.
    """
    path = Path(folder) / position.name
    with write_errors(folder), replaced(path, overwrite=True) as partial:
        arrays = partial / _ARRAYS
        # In NumPy's format, because HDF5, Keras's format, ends the process on a full disk.
        np.savez(arrays, *(as_array(variable) for variable in _variables(model)))
        state: CheckpointState = {
            "name": position.name,
            "epochs": position.epochs,
            "steps": position.steps,
            "seconds": position.seconds,
            "metrics": [np.asarray(value).tolist() for value in position.metrics],
            "bytes": arrays.stat().st_size,
            "sha256": sha256(arrays),
        }
        if position.best:
            value, epoch, waited = position.best
            state["best"] = {"value": value, "epoch": epoch, "waited": waited}
        # What the arrays are worth depends on the position: one digest covers both.
        state["digest"] = digest(state)
        (partial / _STATE).write_text(json.dumps(state, indent=2) + "\n")
        for written in (arrays, partial / _STATE, partial):
            _flush(written)
    _flush(Path(folder))
    return path


def load(path: str | Path, model: keras.Model) -> Position:
    """Restores a model, built and compiled as when it was saved, from a checkpoint.

    Args:
        path: Path of the checkpoint.
        model: Model whose weights and optimizer state are replaced.

    Returns:
        Progress of its training.

    Raises:
        CheckpointError: The checkpoint is of another network or optimizer, or cannot be read.
    """
    path = Path(path)
    try:
        position = read_position(path)
        # Unpickling could run code.
        with np.load(check_arrays(path / _ARRAYS), allow_pickle=False) as arrays:
            stored = [arrays[name] for name in arrays.files]
    except (OSError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"A checkpoint must be as `save` writes them. Received: {path}, {error}"
        ) from error
    variables = _variables(model)
    shapes = [tuple(variable.shape) for variable in variables]
    if [array.shape for array in stored] != shapes:
        differ = (
            f"{variable.path} has shape {shape}, not {array.shape}"
            for variable, shape, array in zip(variables, shapes, stored, strict=False)
            if shape != array.shape
        )
        reason = next(differ, f"{len(stored)} variables, not {len(variables)}")
        raise CheckpointError(
            f"A checkpoint must be of this network and optimizer. Received: {path}, where {reason}"
        )
    for variable, array in zip(variables, stored, strict=True):
        variable.assign(_typed(array, variable))
    return position


def read_position(path: str | Path) -> Position:
    """Progress of a run at a checkpoint.

    Args:
        path: Path of the checkpoint.

    Raises:
        OSError: The state cannot be read.
        ValueError: It is damaged.
    """
    state = _read_state(Path(path))
    return Position(
        state["epochs"],
        state["steps"],
        state["seconds"],
        tuple(np.asarray(value, np.float32) for value in state["metrics"]),
        _best(state),
    )


def find_damage(path: str | Path) -> str:
    """Checks a checkpoint: its state against digest and name, its arrays against their SHA-256.

    Args:
        path: Path of the checkpoint.

    Returns:
        Description of the damage, for instance "arrays.npz is missing"; empty if there is none.
    """
    path = Path(path)
    try:
        state = _read_state(path)
    except (OSError, ValueError) as error:
        return f"{_STATE} cannot be read: {one_line(error)}"
    size = state["bytes"]
    arrays = path / _ARRAYS
    if not arrays.is_file():
        return f"{_ARRAYS} is missing"
    if arrays.stat().st_size != size:
        return f"{_ARRAYS} has {arrays.stat().st_size:,} bytes, not {size:,}"
    if sha256(arrays) != state["sha256"]:
        return f"{_ARRAYS} has other content than was written"
    return ""


def newest_first(folder: str | Path) -> list[Path]:
    """Paths of the checkpoints in a folder, damaged ones too, the latest first."""
    return [path for _, path in sorted(_found(Path(folder)), reverse=True)]


def best_epochs(folder: str | Path) -> list[Best]:
    """The best epochs that checkpoints name, damaged ones too as far as they can be read."""
    found = []
    for path in newest_first(folder):
        with contextlib.suppress(OSError, ValueError):
            found.append(_best(_read_state(path)))
    return [best for best in found if best is not None]


def delete_old(folder: str | Path, count: int) -> None:
    """Deletes all but the newest checkpoints.

    Args:
        folder: Folder of the checkpoints.
        count: Number of checkpoints to keep.
    """
    kept = {path.name for path in newest_first(folder)[:count]}
    delete_others(folder, kept)


def delete_others(folder: str | Path, names: Collection[str]) -> None:
    """Deletes all checkpoints but those of these names.

    Args:
        folder: Folder of the checkpoints.
        names: Names to keep.
    """
    for path in newest_first(folder):
        if path.name in names:
            continue
        # Renamed first, so that a partially deleted one is not taken for a checkpoint.
        gone = path.with_name(f".partial-{secrets.token_hex(4)}-{path.name}")
        path.rename(gone)
        remove(gone)


def delete_abandoned(folder: str | Path) -> None:
    """Deletes temporary files of killed processes; no other process may be using the folder.

    Args:
        folder: Folder of the checkpoints.
    """
    for path in Path(folder).glob(".partial-*"):
        remove(path)


def _best(state: CheckpointState) -> Best | None:
    best = state.get("best")
    return None if best is None else Best(best["value"], best["epoch"], best["waited"])


def _read_state(path: Path) -> CheckpointState:
    """The state of a checkpoint, as it was written.

    Raises:
        OSError: It cannot be read.
        ValueError: It was changed, or is another checkpoint's.
    """
    name = path.name

    def check(state: CheckpointState) -> None:
        # Version 0.1 wrote neither name nor digest.
        signed = "digest" in state
        if signed != ("name" in state) or (signed and state["digest"] != digest(state)):
            raise ValueError("fields must be those of its digest, and are others")
        own = Position(state["epochs"], state["steps"]).name
        if not name == own == state.get("name", own):
            raise ValueError(f"it must be of {name}, and is of {state.get('name', own)}")
        best = state.get("best")
        if best and best["epoch"] + best["waited"] != state["epochs"]:
            raise ValueError(f"best must be of {state['epochs']} epochs, and is not")

    return parse_json(read_file(path / _STATE), CheckpointState, check)


def _variables(model: keras.Model) -> list[Any]:
    """Variables that a step reads and changes: weights, optimizer state, states of dropout.

    They are ordered as in construction; names differ between processes.
    """
    random = [v for v in model.variables if v.name == "seed_generator_state"]
    return [*model.weights, *model.optimizer.variables, *random]


def _typed(array: np.ndarray, variable: Any) -> np.ndarray:
    # NumPy's files do not support bfloat16 and return its bits as bytes.
    return array.view(as_array(variable).dtype) if array.dtype.kind == "V" else array


def _found(folder: Path) -> Iterator[tuple[tuple[int, int], Path]]:
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := _NAME.fullmatch(path.name):
            yield (int(match[1]), int(match[2] or 0)), path


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
