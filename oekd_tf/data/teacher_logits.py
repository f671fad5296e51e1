"""Files of a teacher's logits on training images, one row an example."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from oekd_tf.core.array_files import check_arrays
from oekd_tf.core.errors import one_line
from oekd_tf.core.files import temporary_path

_RULE = "teacher_logits must be a file that oekd predict --save_logits has written of these data."
# Before the name of a TFDS feature.
FEATURE = "feature:"
_ARRAYS = ("logits", "class_names", "fingerprint")


def save_logits(path: str | Path, logits: np.ndarray, data: Any) -> None:
    """Writes logits, with what they are of.

    Args:
        path: The .npz file.
        logits: One row for each training example by its index, (examples, classes).
        data: The data set.
    """
    with temporary_path(path) as partial, partial.open("wb") as file:
        np.savez(
            file,
            logits=np.asarray(logits, np.float32),
            class_names=np.array(data.class_names),
            fingerprint=np.array(data.fingerprints()["train"]),
        )


def read_logits(path: str | Path, data: Any) -> np.ndarray:
    """Reads logits, and refuses those of other data.

    Args:
        path: The .npz file; or "feature:" and the name of a feature of a TFDS data set.
        data: The data set.

    Returns:
        One row for each training example by its index, (examples, classes).

    Raises:
        ValueError: There is no such file, or it is of other images or classes.
    """
    if str(path).startswith(FEATURE):
        return _checked(data.rows(str(path).removeprefix(FEATURE)), path, data)
    try:
        with np.load(check_arrays(path), allow_pickle=False) as arrays:
            logits, names, fingerprint = (arrays[name] for name in _ARRAYS)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        reason = one_line(str(error)) or type(error).__name__
        raise ValueError(f"{_RULE} Received: {str(path)!r}, of which is said: {reason}") from None
    if names.tolist() != list(data.class_names):
        raise ValueError(f"{_RULE} Received: {str(path)!r}, of other classes")
    if str(fingerprint) != data.fingerprints()["train"]:
        raise ValueError(
            f"{_RULE} Received: {str(path)!r}, of other training images, or of another choice of "
            "them: data.validation_fraction, data.split_seed, data.max_examples, "
            "data.examples_per_class and data.imbalance must be the same"
        )
    return _checked(logits, path, data)


def _checked(logits: np.ndarray, path: str | Path, data: Any) -> np.ndarray:
    shape = (data.num_examples, data.num_classes)
    if logits.shape != shape or not np.isfinite(logits).all():
        raise ValueError(
            f"teacher_logits must be {shape[0]} rows of {shape[1]} finite numbers, one row a "
            f"training example. Received: {str(path)!r}, of shape {logits.shape}"
        )
    return logits.astype(np.float32)
