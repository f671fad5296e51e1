"""NumPy archives of this package: read without running anything, and without filling the memory."""

import math
import zipfile
from pathlib import Path

import numpy as np

from oekd_tf.core.errors import one_line
from oekd_tf.core.json_files import is_regular

# Above any archive of ours but a checkpoint's, whose size and SHA-256 are known.
_MOST_BYTES = 1 << 31


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
        ValueError: It is no archive of arrays of numbers, or one that unpacks to gigabytes.

    Example:
        >>> read_arrays("runs/study/seed_0/test_logits.npz", "logits", RecordError)["labels"]
    """
    path = Path(path)
    try:
        if not is_regular(path):
            raise ValueError("what is no file")
        with zipfile.ZipFile(path) as archive:
            total = sum(member.file_size for member in archive.infolist())
        if total > _MOST_BYTES:
            raise ValueError(f"an archive that unpacks to {total:,} bytes")
        with np.load(path, allow_pickle=False) as file:
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
