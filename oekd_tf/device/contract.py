"""What an exported file takes and gives, as the manifest or card beside it, or itself, says."""

import json
from pathlib import Path
from typing import Annotated, NamedTuple, TypedDict

import numpy as np
from msgspec import Meta

from oekd_tf.core.json_files import read_file, validate
from oekd_tf.core.records import (
    Card,
    Contract,
    FileIdentity,
    MadeBy,
    Manifest,
    Positive,
    StudentFacts,
)
from oekd_tf.device.card import FILE_NAME as CARD
from oekd_tf.device.card import read_card
from oekd_tf.device.embedded import embedded_contract
from oekd_tf.device.manifest import FILE_NAME as MANIFEST
from oekd_tf.device.manifest import read_manifest
from oekd_tf.device.pictures import read_image

_DEFAULT_CROP = 0.875


class Origin(NamedTuple):
    """What the manifest or the card beside a file, or the file itself, says of it.

    Attributes:
        contract: The contract; None where nothing is known.
        class_names: Names of the classes.
        sha256: SHA-256 of the file; None if it is not one that was exported.
    """

    contract: Contract | None
    class_names: list[str]
    sha256: str | None


def read_contract(model: str | Path) -> Contract | None:
    """Reads the contract of an exported file.

    Args:
        model: Path of a file of an export or of `oekd pick`.

    Returns:
        The contract, in which None stands for what is not known; None if there is no manifest or
        card beside the file, and it holds no contract.

    Raises:
        ValueError: The manifest or card is damaged.

    Example:
        >>> contract = read_contract("savedmodels/demo/student_5/int8.tflite")
        >>> contract["preparation"]
    """
    origin = read_origin(model)
    return None if origin is None else origin.contract


def read_origin(model: str | Path) -> Origin | None:
    """Reads what the manifest or the card beside a file, or else the file itself, says of it.

    Args:
        model: Path of the file.

    Returns:
        What is known; None if there is no manifest or card of this package, and nothing inside.

    Raises:
        ValueError: The manifest or card is damaged, or what is inside.

    Example:
        >>> read_origin("savedmodels/demo/student_5/int8.tflite").class_names
    """
    path = Path(model).absolute()
    folder = path.parent
    files: list[FileIdentity]
    facts: Card | Manifest
    student: StudentFacts
    if _is_ours(folder / CARD, Card):
        facts = card = read_card(folder)
        made_by, student = card["source"]["made_by"], card["student"]
        files = [card["format"]]
        root = folder
    elif _is_ours(folder.parent / MANIFEST, Manifest):
        facts = manifest = read_manifest(folder.parent)
        made_by, student = manifest["made_by"], manifest["students"][0]
        files = [file for one in manifest["students"] for file in one["formats"].values()]
        root = folder.parent
    else:
        inside = embedded_contract(path)
        return None if inside is None else Origin(inside, inside["class_names"] or [], None)
    try:
        contract = facts.get("contract") or _of_version_0_1(facts["class_names"], made_by, student)
    except ValueError as error:
        raise ValueError(f"{folder} must hold what was exported. Received: {error}") from None
    own = (file["sha256"] for file in files if root / file["path"] == path)
    return Origin(contract, facts["class_names"], next(own, None))


def read_input(path: str | Path, contract: Contract) -> np.ndarray:
    """Reads an image file as the input that training made of such files.

    Args:
        path: Path of the file.
        contract: The contract, from `read_contract`.

    Returns:
        The image, uint8 (height, width, channels).

    Raises:
        ValueError: The file is no image that can be read, or the contract does not say how one
            becomes an input.

    Example:
        >>> model = "savedmodels/demo/student_5/int8.tflite"
        >>> image = read_input("shoe.jpg", read_contract(model))
        >>> TfliteModel(model).logits(image[None])
    """
    preparation = contract["preparation"]
    if preparation is None:
        raise ValueError(
            "The contract must say how a picture becomes an input: export with contract="
            "data.contract. Received: one that does not know"
        )
    height, width, channels = contract["image_shape"]
    return read_image(path, (height, width, channels), preparation["crop"])


def _is_ours(path: Path, kind: type) -> bool:
    """Whether a file is there and of this package, damaged or not: others have manifests too."""
    if not path.exists():
        return False
    try:
        value = json.loads(read_file(path))
    except (OSError, ValueError, RecursionError):
        return True
    there = value.keys() if isinstance(value, dict) else ()
    return len(kind.__required_keys__ & set(there)) >= 3  # type: ignore[attr-defined]


class _DataFields(TypedDict, total=False):
    """Fields of a config of version 0.1 that say how a picture became an input."""

    source: str
    central_crop: Annotated[float, Meta(gt=0, le=1)]
    image_size: list[Positive]


def _of_version_0_1(
    class_names: list[str], made_by: MadeBy, student: StudentFacts
) -> Contract | None:
    """What a manifest or card of version 0.1 says by its run's config."""
    config = made_by.get("config", {}).get("data")
    if not config:
        return None
    validate(config, _DataFields)
    crop = config.get("central_crop", _DEFAULT_CROP) if config.get("image_size") else None
    known = config.get("source") == "image_folder" or crop is None
    return {
        "oekd_tf": made_by.get("oekd_tf", "0.1.0"),
        "data": config.get("source"),
        "class_names": class_names,
        "image_shape": student["input_shape"],
        "mean": None,
        "std": None,
        "class_counts": None,
        # Whether images of a TFDS data set differed in size it does not say.
        "preparation": {"orientation": "exif", "crop": crop, "resize": "bilinear",
                        "antialias": True} if known else None,
        "splits": None,
    }  # fmt: skip
