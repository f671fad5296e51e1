"""A picture of where networks look: a row for each image, a column for each network."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from oekd_tf.core.files import temporary_path
from oekd_tf.core.text import in_picture


def draw_maps(
    path: str | Path,
    images: np.ndarray,
    maps: Mapping[str, np.ndarray],
    titles: Sequence[str] = (),
) -> None:
    """Draws maps beside their images.

    Args:
        path: The PNG file to write.
        images: Raw pixels, uint8, (images, height, width, channels).
        maps: By the network's name, (images, height, width), as of `saliency`. Each is scaled to
            its own largest value but for the brightest hundredth.
        titles: What is on each image.

    Raises:
        ValueError: Maps are not of the images.
    """
    for name, own in maps.items():
        if np.shape(own) != images.shape[:3]:
            raise ValueError(
                f"maps must be of shape {images.shape[:3]}, as the images. "
                f"Received: {np.shape(own)} of {name!r}"
            )
    from matplotlib.figure import Figure

    columns = len(maps) + 1
    figure = Figure(figsize=(1.25 * columns, 1.25 * len(images) + 0.4), dpi=120)
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.01)
    grid = figure.subplots(len(images), columns, squeeze=False)
    for number, row in enumerate(grid):
        grey = images.shape[3] == 1
        row[0].imshow(images[number][..., 0] if grey else images[number], cmap="gray", vmin=0,
                      vmax=255)  # fmt: skip
        if titles:
            row[0].set_ylabel(in_picture(titles[number]), fontsize=7)
        for axes, (name, own) in zip(row[1:], maps.items(), strict=True):
            axes.imshow(own[number], cmap="magma", vmin=0, vmax=np.percentile(own[number], 99))
            if not number:
                axes.set_title(in_picture(name), fontsize=7)
        for axes in row:
            axes.set_xticks([])
            axes.set_yticks([])
    with temporary_path(path) as partial:
        figure.savefig(partial)
