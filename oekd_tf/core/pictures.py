"""What pictures share: labels that lie on nothing, and logarithmic axes with plain numbers.

Needs matplotlib, which callers import first.
"""

import itertools
from collections.abc import Sequence
from typing import Any

# Directions of a label from its point, the preferred first, and distances in points.
_DIRECTIONS = ((0, 1), (-1, 1), (1, 1), (-1, 0), (1, 0), (0, -1), (-1, -1), (1, -1))
_DISTANCES = (7, 14, 22, 32, 44)


def place_labels(
    axes: Any, points: Sequence[tuple[float, float]], texts: Sequence[str], fontsize: float = 8
) -> list[Any]:
    """Writes a label beside each point, where it lies on no line, marker or other label.

    Args:
        axes: Axes of a figure whose lines and legend are drawn and whose limits are final.
        points: (x, y) of each label's point, in data.
        texts: The labels.
        fontsize: Size of their font, in points.

    Returns:
        The annotations.

    Example:
        >>> axes.plot([1, 2], [3, 4])
        >>> place_labels(axes, [(1, 3), (2, 4)], ["first", "second"])
    """
    import numpy as np
    from matplotlib import patheffects
    from matplotlib.collections import LineCollection

    figure = axes.figure
    # Lays the figure out, after which places on it are final.
    figure.draw_without_rendering()
    scale = figure.dpi / 72
    taken = [axes.get_legend().get_window_extent()] if axes.get_legend() else []
    # Lines of error bars are in collections.
    bars = [
        _between(bars.get_transform().transform(segment))
        for bars in axes.collections
        if isinstance(bars, LineCollection)
        for segment in bars.get_segments()
    ]
    dots = np.concatenate([np.empty((0, 2)), *map(_pixels, axes.lines), *bars])
    inside = axes.get_window_extent()
    halo = [patheffects.withStroke(linewidth=2.5, foreground="white")]
    labels = []
    for point, text in zip(points, texts, strict=True):
        label = axes.annotate(
            text, point, (0, 0), textcoords="offset points", fontsize=fontsize,
            multialignment="center", path_effects=halo, zorder=5,
        )  # fmt: skip
        best = None
        for distance, (right, up) in itertools.product(_DISTANCES, _DIRECTIONS):
            label.set_position((right * distance, up * distance))
            label.set_ha({-1: "right", 0: "center", 1: "left"}[right])
            label.set_va({-1: "top", 0: "center", 1: "bottom"}[up])
            box = label.get_window_extent().padded(2 * scale)
            on = (dots >= [box.x0, box.y0]) & (dots <= [box.x1, box.y1])
            cost = int(on.all(axis=1).sum()) + 200 * sum(box.overlaps(other) for other in taken)
            cost += 200 * (
                box.x0 < inside.x0 or box.x1 > inside.x1 or box.y0 < inside.y0 or box.y1 > inside.y1
            )
            if best is None or cost < best[0]:
                best = cost, label.get_position(), label.get_ha(), label.get_va(), box
            if not cost:
                break
        assert best
        _, position, horizontal, vertical, box = best
        label.set_position(position)
        label.set_ha(horizontal)
        label.set_va(vertical)
        taken.append(box)
        labels.append(label)
    return labels


def plain_log_axis(axis: Any) -> None:
    """Makes an axis logarithmic, with ticks such as 10, 20, 50 rather than powers.

    Args:
        axis: An axis whose data is drawn; at least two ticks are within its limits.

    Example:
        >>> plain_log_axis(axes.xaxis)
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    low, high = sorted(axis.get_view_interval())
    locator = LogLocator(subs=(1.0, 2.0, 5.0), numticks=12)
    ticks = [tick for tick in locator.tick_values(low, high) if low <= tick <= high]
    axis.set_major_locator(locator if len(ticks) > 2 else MaxNLocator(6, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def _pixels(line: Any) -> Any:
    """Points of a line, a pixel or two apart, and around each marker."""
    import numpy as np

    places = line.get_transform().transform_path(line.get_path()).vertices
    places = places[np.isfinite(places).all(axis=1)]
    parts = [places]
    if line.get_linestyle() != "None":
        parts.append(_between(places))
    if line.get_marker() not in ("None", None, ""):
        radius = line.get_markersize() / 2 * line.figure.dpi / 72
        ring = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        around = radius * np.stack([np.cos(ring), np.sin(ring)], axis=1)
        parts.append((places[:, None] + around).reshape(-1, 2))
    return np.concatenate(parts)


def _between(places: Any) -> Any:
    """Points on the way from place to place."""
    import numpy as np

    parts = [places]
    for start, end in itertools.pairwise(places):
        share = np.linspace(0, 1, max(2, int(np.hypot(*(end - start)) / 1.5)))[:, None]
        parts.append(start + share * (end - start))
    return np.concatenate(parts)
