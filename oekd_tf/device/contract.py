"""What an exported file takes and gives, as the manifest or the card beside it says."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from oekd_tf.core.records import Contract
from oekd_tf.device.pictures import read_image

_DEFAULT_CROP = 0.875


def read_contract(model: str | Path) -> Contract | None:
    """Reads the contract of an exported file.

    Args:
        model: Path of a file of an export or of `oekd pick`.

    Returns:
        The contract, in which None stands for what is not known; None if there is no manifest or
        card beside the file.

    Raises:
        ValueError: The manifest or card is damaged.

    Example:
        >>> contract = read_contract("savedmodels/demo/student_5/int8.tflite")
        >>> contract["preparation"]
    """
    model = Path(model)
    for path in (model.parent / "card.json", model.parent.parent / "manifest.json"):
        if not path.exists():
            continue
        try:
            facts = json.loads(path.read_text())
            contract = facts.get("contract") or _of_version_0_1(facts)
            if contract is not None:
                _check(contract)
            return contract
        except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{path} must be what was exported. Received: {error}") from None
    return None


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


def in_words(contract: Contract) -> list[str]:
    """The contract for people, one fact a line."""
    height, width, channels = contract["image_shape"]
    colour = {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
    preparation = contract["preparation"]
    if preparation is None:
        how = "how a picture became one in training is not known"
    elif preparation["crop"] is None:
        how = "a picture is turned upright (EXIF) and the whole of it resized"
    else:
        how = (
            f"a picture of another size is turned upright (EXIF), {preparation['crop']:.1%} of its "
            "largest center crop of this shape is taken and resized"
        )
    resized = " (bilinear, antialiased)" if preparation is not None else ""
    lines = [f"an input is {height}×{width}, {colour}, raw pixels from 0 to 255: {how}{resized}"]
    splits = contract["splits"]
    if contract["data"] and splits:
        sizes = ", ".join(f"{facts['examples']:,} {name}" for name, facts in splits.items())
        lines.append(f"trained on {contract['data']}: {sizes} images")
    else:
        lines.append("what it was trained on is not known")
    return lines


def _check(contract: Contract) -> None:
    height, width, channels = contract["image_shape"]
    if min(height, width, channels) < 1:
        raise ValueError(f"an image_shape of {contract['image_shape']}")
    preparation = contract["preparation"]
    if preparation is None:
        return
    crop = preparation["crop"]
    if crop is not None and not 0 < crop <= 1:
        raise ValueError(f"a crop of {crop}")
    if preparation["orientation"] != "exif" or preparation["resize"] != "bilinear":
        raise ValueError(f"a preparation of another version: {preparation}")


def _of_version_0_1(facts: Mapping[str, Any]) -> Contract | None:
    """What a manifest or card of version 0.1 says by its run's config."""
    made_by = facts.get("source", facts).get("made_by", {})
    config = made_by.get("config", {}).get("data")
    students = facts.get("students") or [facts.get("student", {})]
    shape = students[0].get("input_shape")
    if not config or not shape:
        return None
    crop = float(config.get("central_crop", _DEFAULT_CROP)) if config.get("image_size") else None
    known = config.get("source") == "image_folder" or crop is None
    return {
        "oekd_tf": str(made_by.get("oekd_tf", "0.1.0")),
        "data": config.get("source"),
        "class_names": facts.get("class_names"),
        "image_shape": list(shape),
        "mean": None,
        "std": None,
        "class_counts": None,
        # Whether images of a TFDS data set differed in size it does not say.
        "preparation": {"orientation": "exif", "crop": crop, "resize": "bilinear",
                        "antialias": True} if known else None,
        "splits": None,
    }  # fmt: skip
