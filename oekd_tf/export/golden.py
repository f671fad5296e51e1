"""Writes the golden vectors of an export, for `oekd selftest`."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from oekd_tf.core.contract import without_data
from oekd_tf.core.records import Contract, FileFacts, GoldenImage, GoldenLogits
from oekd_tf.device.golden import FILE_NAME, FOLDER, encoded, tolerance
from oekd_tf.device.pictures import as_input

_PICTURES = 5
# Images side by side and one above the other in a collage: another aspect ratio, and details that
# are lost where a program resizes without averaging.
_COLUMNS, _ROWS = 4, 3
_LYING = 6  # EXIF's number for a picture that must be turned right.
_QUALITY = 95


class Picture(NamedTuple):
    """A picture of the golden vectors.

    Attributes:
        file: Name of its file; "" where Pillow has no such picture.
        content: Content of its file.
        input: What it becomes, uint8 (height, width, channels).
        label: Class index of what it shows; None where it shows several.
    """

    file: str
    content: bytes
    input: np.ndarray
    label: int | None


def make_pictures(images: np.ndarray, labels: np.ndarray, contract: Contract) -> list[Picture]:
    """Pictures of test images, and the inputs that they become.

    Three are of the network's own size. Where it is known how a picture becomes an input, two more
    are collages of another size, the last one a JPEG that lies on its side.

    Args:
        images: Raw pixels of the test images, (images, height, width, channels).
        labels: Their class indices, (images,).
        contract: The network's contract.

    Returns:
        Five pictures.

    Example:
        >>> [picture.file for picture in make_pictures(images, labels, data.contract)][-1]
        'picture_5.jpg'
    """
    images = np.asarray(images)
    count = min(_PICTURES, len(images))
    # A split may be sorted by class.
    chosen = np.linspace(0, len(images) - 1, count).round().astype(int)
    preparation = contract["preparation"]
    collages = 2 if preparation is not None and images.shape[-1] in (1, 3) else 0
    pictures = []
    for number, index in enumerate(chosen, start=1):
        if number <= count - collages:
            pictures.append(_alone(number, images[index], int(labels[index])))
            continue
        tiles = np.resize(np.roll(np.arange(len(images)), -int(index)), _ROWS * _COLUMNS)
        last = number == count
        name = f"picture_{number}.{'jpg' if last else 'png'}"
        pictures.append(_collage(name, images[tiles], contract, lying=last))
    return pictures


def write_golden(
    folder: Path,
    pictures: Sequence[Picture],
    contract: Contract,
    facts: Mapping[tuple[str, str], FileFacts],
    logits: Mapping[tuple[str, str], np.ndarray],
) -> None:
    """Writes the folder of golden vectors.

    Args:
        folder: Folder of the export.
        pictures: The pictures.
        contract: The contract, with the names of the classes.
        facts: Facts of each file, by names of student and format.
        logits: Its logits on the pictures, (pictures, classes).

    Raises:
        OSError: It cannot be written.
    """
    names = contract["class_names"] or []
    entries: list[GoldenImage] = [
        {
            "file": picture.file,
            "label": None if picture.label is None else names[picture.label],
            "input": encoded(picture.input),
        }
        for picture in pictures
    ]
    files: dict[str, GoldenLogits] = {}
    for (student, form), found in logits.items():
        about = facts[student, form]
        if not about["path"].endswith(".tflite"):
            continue
        types = about.get("tensor_types", {})
        scale = float(about["output"].get("scale") or 0.0)
        files[f"{student}/{form}"] = {
            "path": about["path"],
            "sha256": about["sha256"],
            "logits": [[float(f"{value:.7g}") for value in row] for row in found],
            "tolerance": tolerance(found, scale, any(t in types for t in ("int8", "int4"))),
        }
    target = folder / FOLDER
    target.mkdir()
    for picture in pictures:
        if picture.file:
            (target / picture.file).write_bytes(picture.content)
    content = {"contract": without_data(contract), "images": entries, "files": files}
    (target / FILE_NAME).write_text(json.dumps(content, ensure_ascii=False) + "\n", "utf-8")


def _alone(number: int, image: np.ndarray, label: int) -> Picture:
    from PIL import Image

    image = image.astype(np.uint8)
    if image.shape[-1] not in (1, 3):
        return Picture("", b"", image, label)
    target = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(target, "png")
    return Picture(f"picture_{number}.png", target.getvalue(), image, label)


def _collage(name: str, tiles: np.ndarray, contract: Contract, lying: bool) -> Picture:
    from PIL import Image

    height, width, channels = tiles.shape[1:]
    grid = tiles.astype(np.uint8).reshape(_ROWS, _COLUMNS, height, width, channels)
    whole = grid.transpose(0, 2, 1, 3, 4).reshape(_ROWS * height, _COLUMNS * width, channels)
    picture = Image.fromarray(whole.squeeze(-1) if channels == 1 else whole)
    target = io.BytesIO()
    if lying:
        exif = Image.Exif()
        exif[0x0112] = _LYING
        picture.transpose(Image.Transpose.ROTATE_90).save(
            target, "jpeg", quality=_QUALITY, subsampling=0, exif=exif
        )
    else:
        picture.save(target, "png")
    preparation = contract["preparation"]
    assert preparation is not None, "Collages are made where it is known what they become"
    content = target.getvalue()
    taken = as_input(content, (height, width, channels), preparation["crop"])
    return Picture(name, content, taken, None)
