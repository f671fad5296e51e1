"""Trade-off between cost and accuracy of exported files: a table and a figure.

The table needs nothing but Python; the figure needs matplotlib.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oekd_tf.core.files import temporary_path
from oekd_tf.core.pictures import plain_log_axis
from oekd_tf.core.records import FileFacts, Manifest
from oekd_tf.core.text import in_picture
from oekd_tf.device.exported import ExportedFile, exported_files
from oekd_tf.device.measurements import median_ms
from oekd_tf.device.npu_results import milliseconds, npu_result

_MARKERS = "osD^vP*Xph<>d8H"


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The Pareto front of points.

    Args:
        points: (cost, accuracy) of each point.

    Returns:
        Indices of the points on the front, by rising cost. A point is on the front if no other is
        at least as accurate for less, or more accurate for no more; of equal points only the
        first is.

    Example:
        >>> pareto_front([(1, 0.5), (2, 0.4), (3, 0.9)])
        [0, 2]
    """
    front, reached = [], float("-inf")
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[index][1] > reached:
            front.append(index)
            reached = points[index][1]
    return front


def trade_off_rows(manifest: Manifest, threads: int = 1) -> list[dict[str, str]]:
    """The trade-off table of an export.

    Args:
        manifest: Manifest of the export.
        threads: Number of threads of the latencies.

    Returns:
        One row for each file, for `oekd_tf.core.tables.markdown_table`. "drop" is in points, from
        the Keras student; "front" is * for files on the Pareto front of size and accuracy.
    """
    files = exported_files(manifest)
    front = set(pareto_front([(f.facts["bytes"], f.facts["accuracy"]) for f in files]))
    compressed = any(file.facts.get("gzip_bytes") for file in files)
    tuned = any(file.facts.get("fine_tuning") for file in files)
    micro = any(file.facts.get("micro") for file in files)
    rows = []
    for index, file in enumerate(files):
        facts = file.facts
        row = {
            "student": file.student["name"],
            "format": file.format,
            "kB": f"{facts['bytes'] / 1e3:.1f}",
        }
        if compressed:
            size = facts.get("gzip_bytes")
            row["gzip kB"] = f"{size / 1e3:.1f}" if size else ""
        row["accuracy %"] = f"{100 * facts['accuracy']:.2f}"
        row["agreement %"] = f"{100 * facts['agreement']:.2f}"
        row["drop"] = f"{100 * (file.student['accuracy'] - facts['accuracy']):.2f}"
        if tuned:
            row["sparsity"] = _mean(facts, "sparsity")
            row["values a kernel"] = _mean(facts, "clusters")
        if micro:
            arena = facts.get("micro", {}).get("arena_bytes")
            row["arena kB"] = f"{arena / 1e3:.1f}" if arena else ""
        for device in manifest.get("devices", {}):
            median = median_ms(manifest, file, device, threads)
            row[f"ms, {device}"] = "" if median is None else f"{median:.3f}"
        for target in manifest.get("npus", {}):
            found = npu_result(manifest, file, target)
            row[f"ms, {target}"] = f"{milliseconds(found):.3f}" if found else ""
        row["front"] = "*" if index in front else ""
        rows.append(row)
    return rows


def _mean(facts: FileFacts, what: str) -> str:
    values: Any = facts.get("fine_tuning", {}).get(what)
    return f"{sum(values.values()) / len(values):.2f}" if values else ""


def draw_trade_off(
    manifest: Manifest, path: str | Path, device: str | None = None, threads: int = 1
) -> None:
    """Draws accuracy against size and what each target was measured, or estimated, to need.

    That is latency on a device, the arena on a microcontroller, and latency on each NPU.

    Args:
        manifest: Manifest of the export.
        path: Path of the PNG file.
        device: Name of the device of the latencies; the last one measured if None.
        threads: Number of threads of the latencies.

    Raises:
        ValueError: The device was not measured.
    """
    from matplotlib.figure import Figure

    files = exported_files(manifest)
    devices = manifest.get("devices", {})
    if device is not None and device not in devices:
        raise ValueError(
            f"device must be one that was measured, of {', '.join(devices) or 'none'}. "
            f"Received: {device!r}"
        )
    panels = [("size of the file, kB", {f.key: f.facts["bytes"] / 1e3 for f in files})]
    if devices:
        device = device or max(devices, key=lambda name: devices[name]["time"])
        latency = {
            file.key: median
            for file in files
            if (median := median_ms(manifest, file, device, threads)) is not None
        }
        if latency:
            plural = "s" if threads > 1 else ""
            title = f"median latency on {in_picture(device)}, {threads} thread{plural}, ms"
            panels.append((title, latency))
    arenas = {
        file.key: arena / 1e3
        for file in files
        if (arena := file.facts.get("micro", {}).get("arena_bytes")) is not None
    }
    if arenas:
        panels.append(("arena on a microcontroller, kB", arenas))
    for target in manifest.get("npus", {}):
        estimates = {
            file.key: milliseconds(found)
            for file in files
            if (found := npu_result(manifest, file, target)) is not None
        }
        if estimates:
            panels.append((f"estimated latency on {in_picture(target)}, ms", estimates))
    figure = Figure(figsize=(1.8 + 5.4 * len(panels), 4.8), dpi=150, layout="constrained")
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    colours, markers = _styles(files)
    for axes, (title, costs) in zip(all_axes, panels, strict=True):
        _draw_panel(axes, title, [f for f in files if f.key in costs], costs, colours, markers)
    all_axes[0].set_ylabel("test accuracy, %")
    figure.suptitle(f"{len(files)} files of one training run")
    figure.legend(handles=_legend(colours, markers), loc="outside right upper", fontsize=8)
    with temporary_path(path) as partial:
        figure.savefig(partial)


def _draw_panel(
    axes: Any,
    title: str,
    files: Sequence[ExportedFile],
    costs: dict[str, float],
    colours: dict[str, Any],
    markers: dict[str, str],
) -> None:
    points = [(costs[file.key], 100 * file.facts["accuracy"]) for file in files]
    front = [points[index] for index in pareto_front(points)]
    axes.plot(*zip(*front, strict=True), color="#57606a", linewidth=1, drawstyle="steps-post")
    for file, (cost, accuracy) in zip(files, points, strict=True):
        axes.plot(
            cost,
            accuracy,
            markers[file.student["name"]],
            color=colours[file.format],
            markeredgecolor="white",
            markeredgewidth=0.6,
            markersize=8,
        )
    axes.margins(x=0.08, y=0.1)
    plain_log_axis(axes.xaxis)
    axes.set_xlabel(title)
    axes.grid(alpha=0.3)


def _styles(files: Sequence[ExportedFile]) -> tuple[dict[str, Any], dict[str, str]]:
    from matplotlib import color_sequences

    formats = list(dict.fromkeys(file.format for file in files))
    students = list(dict.fromkeys(file.student["name"] for file in files))
    palette = color_sequences["tab10" if len(formats) <= 10 else "tab20"]
    colours = {name: palette[index % len(palette)] for index, name in enumerate(formats)}
    markers = {name: _MARKERS[index % len(_MARKERS)] for index, name in enumerate(students)}
    return colours, markers


def _legend(colours: dict[str, Any], markers: dict[str, str]) -> list[Any]:
    from matplotlib.lines import Line2D

    dots = [
        Line2D([], [], color=colour, marker="o", linestyle="", markersize=7, label=in_picture(name))
        for name, colour in colours.items()
    ]
    shapes = [
        Line2D(
            [],
            [],
            color="#57606a",
            marker=marker,
            linestyle="",
            markersize=7,
            label=in_picture(name),
        )
        for name, marker in markers.items()
    ]
    line = Line2D([], [], color="#57606a", linewidth=1, label="Pareto front")
    return [*dots, *shapes, line]
