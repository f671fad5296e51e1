"""Preprocessing of image files, the same as in evaluation."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

_EXTENSIONS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
_DEFAULT_CROP = 0.875


def check_pillow() -> None:
    """Raises a ValueError if Pillow is not installed."""
    if find_spec("PIL") is None:
        raise ValueError(
            "Reading images needs Pillow: pip install pillow. Received: an environment without it"
        )


def image_files(path: str | Path) -> Iterator[Path]:
    """The image files below a folder, sorted by path, or a single file.

    Args:
        path: Path of a folder or a file; a file may have any extension.

    Yields:
        Paths of the files.

    Raises:
        ValueError: The path does not exist, or is a folder without images.
    """
    path = Path(path)
    if not path.is_dir():
        if not path.exists():
            raise ValueError(f"An image must be a file or folder. Received: {path}, not there")
        yield path
        return
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _EXTENSIONS)
    if not files:
        raise ValueError(
            f"A folder must hold images ({', '.join(sorted(_EXTENSIONS))}). Received: {path}"
        )
    yield from files


def read_image(
    path: str | Path, image_shape: tuple[int, int, int], central_crop: float = 1.0
) -> np.ndarray:
    """Reads an image file as input of a network.

    An image of another size is center-cropped to the network's aspect ratio and resized (bilinear,
    antialiased). It is rotated as its EXIF data says, transparency is dropped, 16 bits per channel
    become 8, and an animation is its first frame.

    Args:
        path: Path of the file.
        image_shape: (height, width, channels); 1 channel is grey, 3 are colour.
        central_crop: Share of the crop's height and width to take, in (0, 1].

    Returns:
        The image, uint8 of shape `image_shape`.

    Raises:
        ValueError: The file is no image that can be read.

    Example:
        >>> read_image("shoe.jpg", (28, 28, 1))[None]
    """
    from PIL import Image, ImageOps

    height, width, channels = image_shape
    if channels not in (1, 3):
        raise ValueError(f"A network must take 1 or 3 channels. Received: {channels}")
    try:
        with Image.open(path) as opened:
            image = _eight_bits(ImageOps.exif_transpose(opened))
            image = image.convert("L" if channels == 1 else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"An image must be readable. Received: {path}: {reason}") from None
    if image.size != (width, height):
        image = image.crop(central_box(image.size, (width, height), central_crop))
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, np.uint8).reshape(image_shape)


def central_box(
    size: tuple[int, int], target: tuple[int, int], share: float
) -> tuple[int, int, int, int]:
    """The largest center crop of the target's aspect ratio, scaled by a share.

    `oekd_tf.data.cropping.central_window` without TensorFlow.

    Args:
        size: (width, height) of the image.
        target: (width, height) that define the aspect ratio.
        share: Share of the crop's sides to take, in (0, 1].

    Returns:
        (left, top, right, bottom) of the crop.
    """
    scale = min(size[0] / target[0], size[1] / target[1]) * share
    width, height = (
        min(max(round(side * scale), 1), whole) for side, whole in zip(target, size, strict=True)
    )
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return left, top, left + width, top + height


def trained_crop(model: str | Path) -> float:
    """The center crop of evaluation in training, from the manifest or card beside a model.

    Args:
        model: Path of a file of an export or of `oekd pick`.

    Returns:
        The config's `data.central_crop` where images were resized to `data.image_size`; 1 where
        all images had the same size, or nothing is known.
    """
    model = Path(model)
    data = {}
    for path in (model.parent / "card.json", model.parent.parent / "manifest.json"):
        if path.exists():
            try:
                data = _data_config(json.loads(path.read_text()))
            except (ValueError, AttributeError):
                data = {}
            break
    return float(data.get("central_crop", _DEFAULT_CROP)) if data.get("image_size") else 1.0


def _data_config(facts: dict[str, Any]) -> dict[str, Any]:
    made_by = facts.get("source", facts).get("made_by", {})
    return made_by.get("config", {}).get("data", {})


def _eight_bits(image: Any) -> Any:
    """Converts an image of 16 bits per channel to 8; leaves others as they are."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("pixels are floats, of which it is not said what white is")
    if not image.mode.startswith("I"):
        return image
    # "I" is how some versions open 16 bits.
    return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
