"""Pictures of a data set's check: a contact sheet, and histograms."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from oekd_tf.core.text import printable

# Side of an example on the contact sheet, in pixels.
_SIDE = 72
_GAP = 6
_LABEL_WIDTH = 200


def draw_examples(examples: Mapping[str, Sequence[np.ndarray]], path: str | Path) -> None:
    """Draws a contact sheet: a row a class.

    Args:
        examples: Upright pictures, uint8 (height, width, 3), by class.
        path: Path of the PNG file.
    """
    from PIL import Image, ImageDraw, ImageFont

    columns = max((len(pictures) for pictures in examples.values()), default=0) or 1
    width = _LABEL_WIDTH + columns * (_SIDE + _GAP) + _GAP
    sheet = Image.new("RGB", (width, len(examples) * (_SIDE + _GAP) + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = _font(ImageFont)
    for row, (name, pictures) in enumerate(examples.items()):
        top = _GAP + row * (_SIDE + _GAP)
        draw.text(
            (_GAP, top + _SIDE // 2),
            _fitting(printable(name), draw, font),
            "black",
            font,
            anchor="lm",
        )
        for column, pixels in enumerate(pictures):
            picture = Image.fromarray(pixels)
            scale = _SIDE / max(picture.size)
            size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
            # Small pictures stay sharp: their pixels are what the network sees.
            how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
            place = _LABEL_WIDTH + column * (_SIDE + _GAP) + (_SIDE - size[0]) // 2
            sheet.paste(picture.resize(size, how), (place, top + (_SIDE - size[1]) // 2))
    sheet.save(path)


def draw_spread(
    brightness: Sequence[float], sizes: Counter[tuple[int, int]], path: str | Path
) -> None:
    """Draws histograms of the pictures' brightness and size.

    Args:
        brightness: Mean grey levels, from 0 to 255.
        sizes: Number of pictures of each (width, height).
        path: Path of the PNG file.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.2), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.hist(brightness, bins=32, range=(0, 255), color="#1f6feb")
    left.set_xlabel("mean grey level of a picture, 0 to 255")
    left.set_ylabel("pictures")
    left.set_title("brightness")
    for axis, (name, color) in enumerate((("width", "#1f6feb"), ("height", "#d29922"))):
        sides = np.repeat([size[axis] for size in sizes], list(sizes.values()))
        if len(sides):
            low, high = sides.min(), sides.max() + 1
            bins = np.linspace(low, high, 33) if high - low > 32 else np.arange(low - 2, high + 3)
            right.hist(sides, bins=bins, histtype="step", color=color, label=name, linewidth=1.8)
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_xlabel("pixels")
    right.set_ylabel("pictures")
    right.set_title("size")
    if sizes:
        right.legend()
    figure.savefig(path)


def _font(fonts):
    """A font with the characters of most languages, which Matplotlib brings."""
    from matplotlib import font_manager

    return fonts.truetype(font_manager.findfont("DejaVu Sans"), 15)


def _fitting(name: str, draw, font) -> str:
    shown = name
    while draw.textlength(shown, font) > _LABEL_WIDTH - 2 * _GAP and len(shown) > 1:
        shown = shown.removesuffix("…")[:-1] + "…"
    return shown
