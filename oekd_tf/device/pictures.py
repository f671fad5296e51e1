"""Pictures as inputs of a network: the one decoder of training, evaluation and devices."""

import io
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from oekd_tf.core.regular import IrregularFileError, irregular_kind, regular
from oekd_tf.device.picture_headers import exif_orientation, pixels_problem, read_header

# Extensions of the formats that are read.
EXTENSIONS = frozenset(
    {
        *(".bmp", ".gif", ".png", ".tif", ".tiff", ".webp"),
        *(".jfif", ".jpe", ".jpeg", ".jpg"),
        *(".pbm", ".pgm", ".pnm", ".ppm"),
    }
)
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

# Files and folders that systems and programs leave beside pictures.
_SYSTEM_NAMES = {
    "@eadir", "__macosx", "thumbs.db", "desktop.ini", "$recycle.bin",
    "system volume information", "lost+found", "__pycache__",
}  # fmt: skip

# For each EXIF orientation what turns the stored picture upright: Pillow's Transpose.
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


def check_pillow() -> None:
    """Raises a ValueError if Pillow is not installed."""
    if find_spec("PIL") is None:
        raise ValueError(
            "Reading images needs Pillow: pip install pillow. Received: an environment without it"
        )


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name belongs to the system rather than to the user.

    Example:
        >>> [is_hidden(name) for name in (".DS_Store", "@eaDir", "cat.jpg")]
        [True, True, False]
    """
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def walk(folder: str | Path) -> Iterator[Path]:
    """All files below a folder, sorted by path; hidden ones and system folders are left out.

    Links to folders are followed, each folder once.

    Args:
        folder: Path of the folder.

    Yields:
        Paths of the files.
    """
    for entry in _walk(os.fspath(folder), {os.path.realpath(folder)}):
        yield Path(entry.path)


def _walk(folder: str, seen: set[str]) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        entries = sorted((e for e in found if not is_hidden(e.name)), key=lambda e: e.name)
    for entry in entries:
        if not entry.is_dir():
            yield entry
            continue
        place = os.path.realpath(entry.path)
        if place not in seen:
            seen.add(place)
            yield from _walk(entry.path, seen)


def pictures_below(folder: str | Path) -> tuple[list[Path], Counter[str]]:
    """The pictures below a folder, and how many files of each other extension there are.

    Args:
        folder: Path of the folder.

    Returns:
        Paths of the pictures, sorted, and numbers of other files by extension.
    """
    files, others = [], Counter[str]()
    for entry in _walk(os.fspath(folder), {os.path.realpath(folder)}):
        file = Path(entry.path)
        # The folder's listing tells files without asking for each.
        if not entry.is_file() and irregular_kind(file):
            others["pipe, socket or device"] += 1
        elif file.suffix.lower() in EXTENSIONS:
            files.append(file)
        else:
            others[file.suffix.lower() or "without an extension"] += 1
    return files, others


def image_files(path: str | Path) -> tuple[list[Path], Counter[str]]:
    """The image files below a folder, sorted by path, or a single file.

    Args:
        path: Path of a folder or a file; a file may have any extension.

    Returns:
        Paths of the files, and how many files of each other extension were left out.

    Raises:
        ValueError: The path does not exist, or is a folder without images.
    """
    path = Path(path)
    if not path.is_dir():
        if not path.exists():
            raise ValueError(f"An image must be a file or folder. Received: {path}, not there")
        return [path], Counter()
    files, others = pictures_below(path)
    if not files:
        raise ValueError(
            f"A folder must hold images ({', '.join(sorted(EXTENSIONS))}). Received: {path}"
        )
    return files, others


def read_image(
    path: str | Path,
    image_shape: tuple[int, int, int],
    central_crop: float | None = 1.0,
) -> np.ndarray:
    """Reads an image file as input of a network.

    Args:
        path: Path of the file.
        image_shape: (height, width, channels); 1 channel is grey, 3 are colour.
        central_crop: An image of another size is center-cropped to the network's aspect ratio, to
            this share of the crop's height and width, in (0, 1], before it is resized (bilinear,
            antialiased); None resizes the whole image.

    Returns:
        The image, uint8 of shape `image_shape`.

    Raises:
        ValueError: The file is no image that can be read.

    Example:
        >>> read_image("shoe.jpg", (28, 28, 1))[None]
    """
    channels = image_shape[-1]
    if channels not in (1, 3):
        raise ValueError(f"A network must take 1 or 3 channels. Received: {channels}")
    try:
        content = regular(path).read_bytes()
    except IrregularFileError as error:
        raise ValueError(
            f"An image must be a regular file. Received: {path}, {error.strerror}"
        ) from None
    except OSError as error:
        raise ValueError(f"An image must be readable. Received: {path}: {error}") from None
    try:
        return as_input(content, image_shape, central_crop)
    except ValueError as error:
        raise ValueError(f"An image must be readable. Received: {path}: {error}") from None


def as_input(
    content: bytes, image_shape: tuple[int, int, int], central_crop: float | None
) -> np.ndarray:
    """A picture as input of a network.

    Args:
        content: Content of the picture's file.
        image_shape: As for `read_image`.
        central_crop: As for `read_image`.

    Returns:
        The image, uint8 of shape `image_shape`.

    Raises:
        ValueError: It is no picture that can be read; the message says why.
    """
    height, width, channels = image_shape
    image = _opened(content, channels)
    if image.size != (width, height):
        if central_crop is not None:
            image = image.crop(central_box(image.size, (width, height), central_crop))
        from PIL import Image

        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, np.uint8).reshape(image_shape)


def decode(content: bytes, channels: int) -> np.ndarray:
    """Decodes a picture of any format, at its own size.

    It is turned upright as its EXIF data say; damaged data are ignored. Transparency is dropped,
    16 bits a channel become 8, and an animation is its first frame.

    Args:
        content: Content of the file.
        channels: 1 for grey, 3 for colour.

    Returns:
        Pixels, uint8 (height, width, channels).

    Raises:
        ValueError: It is no picture that can be read; the message says why.

    Example:
        >>> decode(Path("photo.jpg").read_bytes(), 3).shape
        (375, 500, 3)
    """
    image = _opened(content, channels)
    return np.asarray(image, np.uint8).reshape(image.height, image.width, channels)


def _opened(content: bytes, channels: int) -> Any:
    """The upright picture in Pillow's mode L or RGB."""
    from PIL import Image

    with warnings.catch_warnings():
        # Of large pictures, and of EXIF blocks that are damaged.
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
                if problem := pixels_problem(*opened.size):
                    raise ValueError(problem)
                opened.load()
                # Pillow turns TIFF by itself.
                turn = 1 if opened.format == "TIFF" else _orientation(content, opened)
                image = _eight_bits(opened).convert("L" if channels == 1 else "RGB")
        # Damaged files make Pillow raise nearly anything.
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            if isinstance(error, Image.UnidentifiedImageError):
                reason = "it is no picture of a format that is read here"
            raise ValueError(reason) from None
        return image if turn == 1 else image.transpose(_TURNS[turn])


def _orientation(content: bytes, opened: Any) -> int:
    if opened.format in ("JPEG", "MPO"):
        return read_header(content).orientation
    block = opened.info.get("exif", b"")
    return exif_orientation(block) if isinstance(block, bytes) else 1


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


def _eight_bits(image: Any) -> Any:
    """Converts an image of 16 bits per channel to 8; leaves others as they are."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("pixels are floats, of which it is not said what white is")
    if not image.mode.startswith("I"):
        return image
    # "I" is how some versions open 16 bits.
    return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
