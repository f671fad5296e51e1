"""Files of NumPy arrays from elsewhere: what they take in memory is known before it is taken."""

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from oekd_tf.core.errors import one_line
from oekd_tf.core.machine import available_memory
from oekd_tf.core.regular import regular


def check_arrays(path: str | Path, free: int | None = None) -> Path:
    """Reads the headers of an `.npz` file.

    A kilobyte can say that it holds a terabyte, and compressed zeros really do.

    Args:
        path: Path of the file.
        free: Bytes that the arrays may take; the memory that is free if None.

    Returns:
        The path.

    Raises:
        ValueError: An array is not what its header says, holds Python objects, or the arrays do
            not fit the memory that is free.
        OSError: The file cannot be read.
        zipfile.BadZipFile: It is no such file.

    Example:
        >>> with np.load(check_arrays("mine.npz"), allow_pickle=False) as arrays:
        ...     images = arrays["x_train"]
    """
    total = 0
    with zipfile.ZipFile(regular(path)) as members:
        for member in members.infolist():
            if not member.filename.endswith(".npy"):
                continue
            with members.open(member) as file:
                size, header = _array_bytes(file)
            held = member.file_size - header
            if size != held:
                raise ValueError(
                    f"{path} must hold the arrays that it names. Received: {member.filename} of "
                    f"{size:,} bytes by its header, and {held:,} in the file"
                )
            total += size
    free = available_memory() if free is None else free
    if free is not None and total > free:
        raise ValueError(
            f"{path} must fit the memory that is free, {free / 1e9:.1f} GB. "
            f"Received: arrays of {total / 1e9:,.1f} GB"
        )
    return Path(path)


def read_arrays(path: str | Path, what: str, error: type[ValueError]) -> dict[str, np.ndarray]:
    """Reads all arrays of an .npz file.

    Args:
        path: Path of the file.
        what: What the file is, for the error: "logits of the test split".
        error: Class of the error.

    Returns:
        Arrays of numbers, finite ones, by name.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no archive of arrays of numbers, or one that does not fit the memory.

    Example:
        >>> read_arrays("runs/study/seed_0/test_logits.npz", "logits", RecordError)["labels"]
    """
    path = Path(path)
    try:
        with np.load(check_arrays(path), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        for name, values in arrays.items():
            if values.dtype.kind not in "biuf" or not math.prod(values.shape):
                raise ValueError(f"{name} of shape {values.shape}, {values.dtype}")
            if not np.isfinite(values).all():
                raise ValueError(f"NaN or infinity of {name}")
    except FileNotFoundError:
        raise
    except Exception as reason:  # Of zipfile, zlib and NumPy's parser of headers: many classes.
        raise error(f"{path} must be {what}. Received: {one_line(reason)}") from None
    return arrays


def _array_bytes(file: IO[bytes]) -> tuple[int, int]:
    """Bytes of an array's values and of its header, by its header."""
    version = npy.read_magic(file)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in read:
        raise ValueError(f"An array must be of NumPy's format 1 or 2. Received: {version}")
    shape, _, dtype = read[version](file)
    if dtype.hasobject:
        raise ValueError("Arrays must hold numbers. Received: Python objects")
    return math.prod(shape) * dtype.itemsize, file.tell()
