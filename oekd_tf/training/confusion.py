"""The picture of confusion matrices."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oekd_tf.core.files import temporary_path
from oekd_tf.core.text import in_picture

# Up to this many classes cells have numbers, and each class its name.
_NUMBERED = 20
_NAMED = 60
_LONGEST_NAME = 24


def draw_confusion(
    matrices: Mapping[str, np.ndarray], names: Sequence[str], path: str | Path
) -> None:
    """Draws the confusion of the widest and of the narrowest student.

    Colours are shares of a class's images, on a scale on which a few percent can be seen; up to
    20 classes cells hold the share, up to 60 every class is named, and of more classes every
    tenth number is.

    Args:
        matrices: Numbers of images by name of the network, as of `oekd_tf.classes.confusion`.
        names: Names of the classes.
        path: Path of the PNG file.

    Example:
        >>> draw_confusion({"student_1": np.eye(3, dtype=int)}, ["a", "b", "c"], "confusion.png")
    """
    from matplotlib.figure import Figure

    students = [name for name in matrices if name != "teacher"] or list(matrices)
    shown = list(dict.fromkeys([students[0], students[-1]]))
    count = len(names)
    side = float(np.clip(0.17 * count + 2.5, 5, 10))
    figure = Figure(figsize=(side * len(shown) + 1, side + 0.6), dpi=150, layout="constrained")
    every = figure.subplots(1, len(shown), squeeze=False)[0]
    image: Any = None
    for axes, name in zip(every, shown, strict=True):
        image = _draw(axes, matrices[name], names, first=name == shown[0])
        axes.set_title(in_picture(name.replace("_", " ")))
    figure.colorbar(
        image, ax=list(every), label="share of a class's images, %", shrink=0.8, pad=0.01,
        ticks=[0, 1, 5, 10, 25, 50, 100],
    )  # fmt: skip
    with temporary_path(path) as partial:
        figure.savefig(partial)


def _draw(axes: Any, matrix: np.ndarray, names: Sequence[str], first: bool) -> Any:
    from matplotlib.colors import PowerNorm

    count = len(names)
    shares = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    # A square root: a tenth of a class that goes astray must not look like nothing.
    norm = PowerNorm(0.5, vmin=0, vmax=100)
    image = axes.imshow(shares, cmap="Blues", norm=norm, interpolation="nearest")
    if count <= _NUMBERED:
        for row, column in np.argwhere(shares >= 0.5):
            axes.text(
                column, row, f"{shares[row, column]:.0f}", ha="center", va="center",
                fontsize=min(9, 90 / count), color="white" if shares[row, column] > 40 else "black",
            )  # fmt: skip
    named = count <= _NAMED
    ticks = np.arange(count) if named else np.arange(0, count, 10 * max(1, count // 200))
    labels = [in_picture(_short(names[int(tick)])) if named else str(tick) for tick in ticks]
    size = float(np.clip(300 / count, 5.5, 9)) if named else 8
    axes.set_xticks(ticks, labels, rotation=90 if named else 0, fontsize=size)
    # Names are long: the second panel has the rows of the first.
    axes.set_yticks(ticks, labels if first or not named else [""] * count, fontsize=size)
    number = "" if named else ", by number"
    axes.set_xlabel(f"predicted class{number}")
    if first:
        axes.set_ylabel(f"class of the image{number}")
    return image


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
