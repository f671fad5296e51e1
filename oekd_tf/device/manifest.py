"""The manifest of an export.

`manifest.json` is one object:

- `made_by`: versions, platform, UTC time, and entries of the caller (config, command);
- `contract`: how a picture becomes an input, class names, mean, std, and the splits that it was
  trained and tested on; null stands for what is not known (`oekd_tf.core.records.Contract`);
- `class_names`, `checked_on_images` (number of test images that every file was run on),
  `checked_on_images_of_class` (of each class), `calibration_images`;
- `failures`: one line for each file that was not delivered;
- `students`: a list of objects with `name`, `width`, `parameters` (trainable), `flops` (two a
  multiply-add, one image), `input_shape`, `accuracy` and `class_recall` (of each class) of the
  Keras student, and `formats`: for each
  format `path` below the manifest's folder, `bytes`, `gzip_bytes` (of a file), `sha256`,
  `accuracy`, `agreement` (share of test images with the Keras student's top class),
  `class_recall`, `largest_logit_difference`, for TFLite and ONNX `input` and `output` (dtype,
  shape, -1 where it is free, scale, zero_point) and `operations`, for TFLite `tensor_types`, and
  after fine-tuning `fine_tuning` (its settings, with sparsity or number of clusters by layer);
- `devices` and `cascades`: results of `oekd bench` and `oekd cascade`.

The SHA-256 of a folder is that of the lines "<sha256>  <path>" of its files, sorted by path: what
`find . -type f | sort | xargs sha256sum | sha256sum` prints, without the "./".
"""

import datetime
import hashlib
import json
import platform
from pathlib import Path
from typing import Any

from oekd_tf.core import machine
from oekd_tf.core.records import FileIdentity, Manifest, TensorFacts

FILE_NAME = "manifest.json"


def read_manifest(folder: str | Path) -> Manifest:
    """Reads the manifest of an export.

    Args:
        folder: Folder of the export.

    Returns:
        Content of the manifest, described at the top of this module.

    Raises:
        FileNotFoundError: There is no manifest.

    Example:
        >>> manifest = read_manifest("savedmodels/demo")
        >>> [student["name"] for student in manifest["students"]]
    """
    return json.loads((Path(folder) / FILE_NAME).read_text())


def file_facts(path: Path, root: Path) -> FileIdentity:
    """Path below `root`, size in bytes and SHA-256 of a file or folder."""
    if path.is_file():
        content = path.read_bytes()
        size, digest = len(content), hashlib.sha256(content).hexdigest()
    else:
        files = sorted(file for file in path.rglob("*") if file.is_file())
        size = sum(file.stat().st_size for file in files)
        lines = [
            f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(path)}\n"
            for file in files
        ]
        digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    return {"path": str(path.relative_to(root)), "bytes": size, "sha256": digest}


def tensor_facts(details: dict[str, Any]) -> TensorFacts:
    """Type, shape and quantization of a TFLite file's input or output."""
    scale, zero_point = details["quantization"]
    return {
        "dtype": details["dtype"].__name__,
        "shape": [int(size) for size in details["shape_signature"]],
        "scale": float(scale),
        "zero_point": int(zero_point),
    }


def provenance() -> dict[str, Any]:
    """Versions, platform and time."""
    return {
        **machine.versions(),
        "platform": platform.platform(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
