"""The golden vectors of an export: pictures, the inputs that they become, and the answers."""

import base64
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from oekd_tf.core.contract import check_contract
from oekd_tf.core.json_files import read_json
from oekd_tf.core.records import Contract, FileIdentity, Golden
from oekd_tf.device.exported import ExportedFile
from oekd_tf.device.manifest import file_facts, find_change

FOLDER = "selftest"
FILE_NAME = "golden.json"
# Of 255: decoders and resizers of the same kind differ by less, anywhere.
SAME_LEVELS = 8
# Integers that other kernels round otherwise are some steps away; a network amplifies that.
_STEPS = 4.0
# Of the largest logit: for float arithmetic, and for weights of few bits in it.
_OF_FLOAT, _OF_FEW_BITS = 1e-2, 5e-2


class Vectors(NamedTuple):
    """Golden vectors, read.

    Attributes:
        contract: The network's contract.
        names: Name of each picture's file; "" where there is none.
        inputs: The right inputs, uint8 (pictures, height, width, channels).
        files: By file of the export ("student_1/int8"), its logits (pictures, classes), and the
            largest difference from them that is none.
    """

    contract: Contract
    names: list[str]
    inputs: np.ndarray
    files: Mapping[str, tuple[np.ndarray, float]]


def read_golden(folder: str | Path) -> Vectors:
    """Reads the golden vectors of an export.

    Args:
        folder: Folder of the export.

    Returns:
        The vectors.

    Raises:
        FileNotFoundError: There are none.
        ValueError: A field is not what it must be.

    Example:
        >>> read_golden("savedmodels/demo").inputs.shape
        (5, 14, 14, 1)
    """
    golden = _read(Path(folder))
    shape = golden["contract"]["image_shape"]
    inputs = [np.frombuffer(_bytes(one["input"]), np.uint8) for one in golden["images"]]
    return Vectors(
        golden["contract"],
        [one["file"] for one in golden["images"]],
        np.stack(inputs).reshape(-1, *shape),
        {
            name: (np.array(one["logits"], np.float32), one["tolerance"])
            for name, one in golden["files"].items()
        },
    )


def check_unchanged(exports: str | Path, selftest: FileIdentity) -> None:
    """Raises a ValueError if golden vectors are not those that were exported.

    Args:
        exports: Folder that they are in.
        selftest: What its manifest or card says of them.
    """
    if (change := find_change(Path(exports), selftest)) is not None:
        raise ValueError(f"{FOLDER} must be what was exported. Received: {change}")


def copy_golden(
    exports: str | Path, selftest: FileIdentity, file: ExportedFile, folder: Path
) -> FileIdentity:
    """Copies the golden vectors of one file, whose path becomes its name.

    Args:
        exports: Folder of the export.
        selftest: What its manifest says of the vectors.
        file: The file.
        folder: Folder to write to.

    Returns:
        Path, size and hash of the copy.

    Raises:
        ValueError: They were changed since.
        OSError: They cannot be written.
    """
    check_unchanged(exports, selftest)
    source, target = Path(exports) / FOLDER, folder / FOLDER
    golden = _read(Path(exports))
    kept = golden["files"].get(file.key)
    name = Path(file.facts["path"]).name
    golden["files"] = {} if kept is None else {file.key: {**kept, "path": name}}
    target.mkdir()
    for image in golden["images"]:
        if image["file"]:
            shutil.copyfile(source / image["file"], target / image["file"], follow_symlinks=False)
    (target / FILE_NAME).write_text(json.dumps(golden, ensure_ascii=False) + "\n", "utf-8")
    return file_facts(target, folder)


def tolerance(logits: np.ndarray, output_scale: float, low_precision: bool) -> float:
    """The largest difference from a file's logits that another machine's may have.

    Args:
        logits: Logits, (images, classes).
        output_scale: Scale of the file's output; 0 where it is not quantized.
        low_precision: Whether weights or activations inside are of few bits.

    Returns:
        The difference.

    Example:
        >>> tolerance(np.array([[1.0, 2.0]]), 0.25, True)
        1.0
    """
    share = _OF_FEW_BITS if low_precision else _OF_FLOAT
    largest = float(np.abs(logits).max())
    return _STEPS * output_scale if output_scale else share * largest


def encoded(image: np.ndarray) -> str:
    """The bytes of an image, row by row, in base64."""
    return base64.b64encode(np.ascontiguousarray(image).tobytes()).decode()


def _read(folder: Path) -> Golden:
    path = folder / FOLDER / FILE_NAME
    return read_json(path, Golden, "the golden vectors of an export", check=_check)


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _check(golden: Golden) -> None:
    contract = golden["contract"]
    check_contract(contract)
    size = int(np.prod(contract["image_shape"]))
    for number, image in enumerate(golden["images"]):
        place = f"images[{number}]"
        if image["file"] and Path(image["file"]).name != image["file"]:
            raise ValueError(f"{place}.file must be a name, and is {image['file']!r}")
        try:
            found = len(_bytes(image["input"]))
        except ValueError:
            raise ValueError(f"{place}.input must be base64, and is not") from None
        if found != size:
            raise ValueError(f"{place}.input must be of {size} bytes, and is of {found}")
    classes = len(contract["class_names"] or [])
    for name, one in golden["files"].items():
        shape = [len(row) for row in one["logits"]]
        if shape != [classes] * len(golden["images"]):
            raise ValueError(
                f"files[{name!r}].logits must be {len(golden['images'])} rows of {classes}, and "
                "are not"
            )
