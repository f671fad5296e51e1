"""What a run records of its data, and the facts of a data set that is not there any more."""

import gzip
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from oekd_tf.core.files import write_bytes
from oekd_tf.core.json_files import parse_json, read_file
from oekd_tf.core.records import Contract
from oekd_tf.data.base import SizedData

# A list of ten million files.
_MOST_BYTES = 1 << 30


class Recorded(NamedTuple):
    """What a data set is opened by, so that it is what it was.

    Attributes:
        class_names: Names of the classes.
        files: Names of the files of each split of an image folder; None for other sources.
    """

    class_names: Sequence[str]
    files: Mapping[str, Sequence[str]] | None = None


class RecordedData(SizedData):
    """A data set as a contract knows it: all of it but the examples.

    Args:
        contract: The contract.

    Raises:
        ValueError: The contract does not know it all.
    """

    held = "as recorded"

    def __init__(self, contract: Contract):
        names, mean, std, splits = (
            contract["class_names"], contract["mean"], contract["std"], contract["splits"],
        )  # fmt: skip
        if names is None or mean is None or std is None or splits is None:
            raise ValueError("A run's contract must be complete. Received: one with gaps")
        self.name = contract["data"] or "unknown"
        height, width, channels = contract["image_shape"]
        self.image_shape = (height, width, channels)
        self.class_names = list(names)
        self.num_classes = len(names)
        self.mean, self.std = tuple(mean), tuple(std)
        self._counts = contract["class_counts"]
        self.num_train, self.num_validation, self.num_test = (
            splits[name]["examples"] if name in splits else 0
            for name in ("train", "validation", "test")
        )

    def count_labels(self) -> np.ndarray:
        if self._counts is None:
            raise ValueError("A run's contract must have class_counts. Received: one without")
        return np.array(self._counts)


def write_files(path: Path, files: Mapping[str, Sequence[str]]) -> None:
    """Writes the names of an image folder's files, atomically.

    Args:
        path: Path of a .json.gz file.
        files: Names by split.
    """
    # Without the time, so that the same files give the same bytes.
    write_bytes(path, gzip.compress(json.dumps(files).encode(), mtime=0))


def read_files(path: Path) -> dict[str, list[str]] | None:
    """Reads what `write_files` wrote; None if there is no such file.

    Raises:
        ValueError: The file is damaged.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(read_file(path))) as file:
            text = file.read(_MOST_BYTES)
        return parse_json(text, dict[str, list[str]])
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"{path} must be a run's list of files. Received: {error}") from None
