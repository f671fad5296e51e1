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
  shape, -1 where it is free, scale, zero_point) and `operations`, for TFLite `tensor_types` and, on
  request, `micro` (what it needs on a microcontroller: `oekd_tf.core.records.MicroFacts`), and
  after fine-tuning `fine_tuning` (its settings, with sparsity or number of clusters by layer);
- `selftest`: the folder of golden vectors, `oekd_tf.core.records.Golden`;
- `devices`, `npus` and `cascades`: results of `oekd bench`, `oekd bench --npu` and `oekd cascade`.

The SHA-256 of a folder is that of the lines "<sha256>  <path>" of its files, sorted by path: what
`find . -type f | sort | xargs sha256sum | sha256sum` prints, without the "./".
"""

import hashlib
import platform
import stat
from pathlib import Path, PurePosixPath
from typing import Any

from oekd_tf.core import machine
from oekd_tf.core.contract import check_contract
from oekd_tf.core.errors import format_value
from oekd_tf.core.files import is_system_file, sha256
from oekd_tf.core.json_files import parse_json, read_json
from oekd_tf.core.records import FileIdentity, Manifest, TensorFacts

FILE_NAME = "manifest.json"
PICTURE = "trade_off.png"
LABELS = "labels.txt"
# Held while the manifest is changed.
LOCK = ".manifest.lock"


def read_manifest(folder: str | Path) -> Manifest:
    """Reads the manifest of an export.

    Args:
        folder: Folder of the export.

    Returns:
        Content of the manifest, described at the top of this module.

    Raises:
        FileNotFoundError: There is no manifest.
        ValueError: A field is not what it must be.

    Example:
        >>> manifest = read_manifest("savedmodels/demo")
        >>> [student["name"] for student in manifest["students"]]
    """
    path = Path(folder) / FILE_NAME
    return read_json(path, Manifest, "an export's manifest", check=_check)


def parse_manifest(text: str) -> Manifest:
    """The manifest of a JSON text; a ValueError if a field is not what it must be."""
    return parse_json(text, Manifest, _check)


def known_files(folder: Path) -> set[str] | None:
    """Paths of what an export holds, below its folder; None if the folder is no export."""
    try:
        manifest = read_manifest(folder)
    except (OSError, ValueError):
        return None
    known = {FILE_NAME, PICTURE, LOCK} | golden_paths(folder, manifest.get("selftest"))
    for student in manifest["students"]:
        known.add(f"{student['name']}/{LABELS}")
        for facts in student["formats"].values():
            # A file that was changed since is someone's work.
            if find_change(folder, facts) is None:
                known.add(facts["path"])
    return known


def golden_paths(folder: Path, selftest: FileIdentity | None) -> set[str]:
    """Paths of the golden vectors, below a folder; none where they were changed since."""
    if selftest is None or find_change(folder, selftest) is not None:
        return set()
    below = (folder / selftest["path"]).rglob("*")
    return {selftest["path"], *(str(path.relative_to(folder)) for path in below)}


def find_change(folder: Path, facts: FileIdentity) -> str | None:
    """How a file or folder differs from what a manifest says of it; None if it does not.

    Args:
        folder: Folder of the export.
        facts: Path, size and SHA-256 of the file or folder.
    """
    place = folder
    for part in PurePosixPath(facts["path"]).parts:
        place /= part
        if place.is_symlink():
            return f"{place} is a link"
    if not place.exists():
        return f"there is no {place}"
    try:
        found = file_facts(place, folder)
    except ValueError as error:
        return str(error)
    if found["sha256"] != facts["sha256"]:
        return f"{place} has SHA-256 {found['sha256']}, not {facts['sha256']}"
    if found["bytes"] != facts["bytes"]:
        return f"{place} has {found['bytes']:,} bytes, not {facts['bytes']:,}"
    return None


def file_facts(path: Path, root: Path) -> FileIdentity:
    """Path below `root`, size in bytes and SHA-256 of a file or folder.

    What file managers leave in a folder is none of its content.

    Raises:
        ValueError: There is a link or something else that is neither file nor folder, which would
            be copied as what it leads to.
    """
    if path.is_dir():
        files = [
            file
            for file in sorted(path.rglob("*"))
            if _is_file(file) and not is_system_file(file.relative_to(path))
        ]
        size = sum(file.stat().st_size for file in files)
        lines = [f"{sha256(file)}  {file.relative_to(path)}\n" for file in files]
        digest = hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()
    else:
        _is_file(path)
        size, digest = path.stat().st_size, sha256(path)
    return {"path": str(path.relative_to(root)), "bytes": size, "sha256": digest}


def _is_file(path: Path) -> bool:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        raise ValueError(f"{path} is a link")
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ValueError(f"{path} is neither a file nor a folder")
    return stat.S_ISREG(mode)


def _check(manifest: Manifest) -> None:
    """Raises a ValueError where fields do not fit together."""
    names = [student["name"] for student in manifest["students"]]
    if len(set(names)) < len(names):
        raise ValueError(f"students must have names that differ, and have {', '.join(names)}")
    classes = len(manifest["class_names"])
    shapes = {tuple(student["input_shape"]) for student in manifest["students"]}
    if len(shapes) > 1:
        raise ValueError("students must have one input_shape, and have several")
    lists = {"checked_on_images_of_class": manifest.get("checked_on_images_of_class")}
    for number, student in enumerate(manifest["students"]):
        place = f"students[{number}]"
        lists[f"{place}.class_recall"] = student.get("class_recall")  # type: ignore[assignment]
        for name, facts in student["formats"].items():
            here = f"{place}.formats.{name}"
            lists[f"{here}.class_recall"] = facts.get("class_recall")  # type: ignore[assignment]
            if not is_inside(facts["path"]):
                raise ValueError(
                    f"{here}.path must be below the manifest's folder, and is "
                    f"{format_value(facts['path'])}"
                )
            if PurePosixPath(facts["path"]).parts[0] != student["name"]:
                raise ValueError(
                    f"{here}.path must be in the folder of {student['name']}, and is "
                    f"{format_value(facts['path'])}"
                )
    for name, values in lists.items():
        if values is not None and len(values) != classes:
            raise ValueError(f"{name} must be of {classes} classes, and is of {len(values)}")
    if not any(student["formats"] for student in manifest["students"]):
        raise ValueError("no files")
    selftest = manifest.get("selftest")
    if selftest is not None and not is_inside(selftest["path"]):
        raise ValueError(
            "selftest.path must be below the manifest's folder, and is "
            f"{format_value(selftest['path'])}"
        )
    contract = manifest.get("contract")
    if contract is not None:
        check_contract(contract)
        if contract["class_names"] not in (None, manifest["class_names"]):
            raise ValueError("contract.class_names must be class_names, and are others")
        if tuple(contract["image_shape"]) not in shapes:
            raise ValueError("contract.image_shape must be the students' input_shape, and is not")


def is_inside(path: str) -> bool:
    """Whether a path of a manifest stays below the manifest's folder.

    Example:
        >>> is_inside("student_1/int8.tflite"), is_inside("../int8.tflite")
        (True, False)
    """
    parts = PurePosixPath(path).parts
    return (
        bool(parts)
        and not path.startswith("/")
        and ".." not in parts
        and path.isprintable()
        and not any(c in path for c in "\\:")
    )


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
        "time": machine.utc_time(),
    }
