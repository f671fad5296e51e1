"""Figures of a study's report, drawn without a display."""

import functools
import math
import statistics
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from oekd_tf.core.files import temporary_path
from oekd_tf.core.pictures import place_labels, plain_log_axis
from oekd_tf.core.records import Results, RunRecord
from oekd_tf.core.text import in_picture, printable
from oekd_tf.studies.aggregate import Method, mean_curves
from oekd_tf.studies.plan import ALONE, ENSEMBLE, METHODS, MUTUAL, OFFLINE
from oekd_tf.studies.results import network_key
from oekd_tf.studies.statistics import GAINS, LOSES, Interval, Spread

_TEACHER = "#d29922"
_COLOURS = {ENSEMBLE: "#1f6feb", ALONE: "#8b949e"}
_VERDICTS = {GAINS: "#1a7f37", LOSES: "#cf222e"}
_LABELS = {
    ENSEMBLE: "trained together",
    ALONE: "the same student trained alone",
    OFFLINE: "distilled from student 1",
    MUTUAL: "in a mutual learning pair",
}
_PANELS_A_ROW = 3
_Line = tuple[Any, Literal["-", "--", ":"]]
_LONGEST_LINE = 38
# More ablations than these can be told apart by their gains only.
_MOST_ABLATIONS = 4


def has_gains(found: Sequence[Method]) -> bool:
    """Whether there is more than one method whose gains can be compared."""
    return sum(any(row.gain for row in method.rows) for method in found) > 1


def draw_gains(
    found: Sequence[Method], name: str, path: str | Path, labels: Mapping[str, str] | None = None
) -> None:
    """Draws the gain of every method with its confidence interval, a panel a student that has one.

    Args:
        found: Methods of the study.
        name: Name of the study.
        path: Path of the PNG file.
        labels: Methods in words, by name; also of methods that have no runs.
    """
    labels = labels or {}
    gains = {m.name: {row.network: row.gain for row in m.rows if row.gain} for m in found}
    rows = [row for row in found[0].rows if any(row.network in own for own in gains.values())]
    # Gains may all be of other networks, those of ablations.
    rows = rows or list(found[0].rows)
    order = [*labels, *(one for one, own in gains.items() if own and one not in labels)]
    texts = [_wrapped(labels.get(one, one)) for one in order]
    lines = max(text.count("\n") + 1 for text in texts)
    longest = max(len(line) for text in texts for line in text.split("\n"))
    figure = _figure(
        max(1.6, 0.4 + 0.065 * longest) + 2.3 * len(rows),
        1.6 + (0.1 + 0.13 * lines) * len(order),
    )
    limits = gain_limits([gain for own in gains.values() for gain in own.values()])
    panels = list(figure.subplots(1, len(rows), squeeze=False, sharex=True, sharey=True).flat)
    for axes, row in zip(panels, rows, strict=True):
        axes.axvline(0, color="#57606a", linewidth=0.8)
        if row.gain:
            axes.axvline(row.gain.mean, color=_COLOURS[ENSEMBLE], linestyle=":", linewidth=1)
        for height, method in enumerate(order):
            if gain := gains.get(method, {}).get(row.network):
                _draw_gain(axes, gain, height, limits)
        axes.set_title(f"{in_picture(row.name.replace('_', ' '))}, width {row.width:g}", fontsize=9)
        axes.set_xlim(*limits)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=8)
    panels[0].set_yticks(range(len(order)), texts)
    panels[0].set_ylim(len(order) - 0.4, -0.6)
    figure.supxlabel("gain over the same student alone, %, with its 95 % interval", fontsize=9)
    keys: dict[str, _Line] = {verdict: (colour, "-") for verdict, colour in _VERDICTS.items()}
    keys |= {"not clear": ("#8b949e", "-"), "mean of the first row": (_COLOURS[ENSEMBLE], ":")}
    figure.legend(handles=_lines(keys), loc="outside upper right", ncols=4, fontsize=8)
    figure.suptitle(in_picture(name), fontsize=10, x=0.02, ha="left")
    _save(figure, path)


def _draw_gain(axes: Any, gain: Interval, height: int, limits: tuple[float, float]) -> None:
    low, high = (gain.low, gain.high) if gain.low is not None else (gain.mean,) * 2
    colour = _VERDICTS.get(gain.verdict, "#8b949e")
    axes.plot([low, high], [height, height], color=colour, linewidth=1.6)
    if limits[0] <= gain.mean <= limits[1]:
        axes.plot(gain.mean, height, "o", color=colour, markersize=4)
        return
    # Far off, where the others would be a point if it were shown.
    left = gain.mean < limits[0]
    edge, marker, align = (limits[0], "<", "left") if left else (limits[1], ">", "right")
    axes.plot(edge, height, marker, color=colour, markersize=6, clip_on=False)
    axes.annotate(
        f"{gain.mean:+.0f}", (edge, height), (6 if left else -6, 3), textcoords="offset points",
        color=colour, fontsize=8, ha=align,
    )  # fmt: skip


def gain_limits(gains: Sequence[Interval]) -> tuple[float, float]:
    """Limits of the axis of gains, which leave out what is far from all others.

    Args:
        gains: All gains of the figure, in %.

    Returns:
        Lower and upper limit; 0 is always between them.

    Example:
        >>> gain_limits([interval([1.0, 2.0, 3.0]), interval([2.0, 3.0, 4.0]), interval([-80.0])])
        (-14.9..., 6.6...)
    """
    values = [
        0.0,
        *(v for gain in gains for v in (gain.low, gain.mean, gain.high) if v is not None),
    ]
    lower, _, upper = statistics.quantiles(values, n=4)
    # Three interquartile ranges: Tukey's outer fences.
    reach = 3 * (upper - lower) or math.inf
    low, high = max(min(values), lower - reach), min(max(values), upper + reach)
    margin = 0.06 * ((high - low) or 1.0)
    return low - margin, high + margin


def _wrapped(label: str) -> str:
    """A label in lines, of which a long path of a file does not take more than four."""
    lines = textwrap.wrap(
        printable(label), _LONGEST_LINE, break_on_hyphens=False, max_lines=4, placeholder=" ..."
    )
    return "\n".join(map(in_picture, lines))


def draw_accuracy(found: Sequence[Method], name: str, path: str | Path) -> None:
    """Draws accuracy against parameters, with standard deviations over seeds.

    Args:
        found: Methods of the study.
        name: Name of the study.
        path: Path of the PNG file.
    """
    found = _told_apart(found, lambda method: method.name)
    figure = _figure(8, 4.8)
    axes = figure.add_subplot()
    colours = _colours(method.name for method in found)
    for method in found:
        axes.errorbar(
            [row.parameters for row in method.rows],
            [100 * row.accuracy.mean for row in method.rows],
            [100 * (row.accuracy.deviation or 0) for row in method.rows],
            fmt="s--" if method.name == ALONE else "o-",
            color=colours[method.name],
            capsize=3,
            markersize=5,
            linewidth=1.3,
            label=_LABELS.get(method.name, in_picture(method.name)),
            zorder=2 if method.name == ALONE else 3,
        )
    first = found[0]
    if first.teacher:
        accuracy = first.teacher.accuracy
        axes.axhline(100 * accuracy.mean, color=_TEACHER, linestyle=":", label="ensemble teacher")
        if accuracy.deviation:
            low, high = (100 * (accuracy.mean + s * accuracy.deviation) for s in (-1, 1))
            axes.axhspan(low, high, color=_TEACHER, alpha=0.12, linewidth=0)
    axes.margins(x=0.1, y=0.18)
    plain_log_axis(axes.xaxis)
    axes.set_xlabel("trainable parameters")
    axes.set_ylabel("test accuracy after the last epoch, %")
    seeds = len({seed for method in found for seed in method.seeds})
    axes.set_title(f"{in_picture(name)}: mean ± standard deviation over {_seeds(seeds)}")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    place_labels(
        axes,
        [(row.parameters, 100 * row.accuracy.mean) for row in first.rows],
        [f"{in_picture(row.name.replace('_', ' '))}\nwidth {row.width:g}" for row in first.rows],
    )
    _save(figure, path)


def draw_curves(results: Results, path: str | Path) -> None:
    """Draws accuracy by epoch, a panel for each student of the ensemble.

    Args:
        results: Content of the results file.
        path: Path of the PNG file.
    """
    runs = _told_apart(results["runs"], lambda run: run["method"])
    first = runs[0]
    students = next((run["students"] for run in runs if run["method"] == ENSEMBLE), None)
    students = students or first["students"]
    figure = _figure(*_size(len(students)))
    colours = _colours(dict.fromkeys(run["method"] for run in runs))
    panels = _panels(figure, len(students))
    for axes, student in zip(panels, students, strict=True):
        key = network_key(student)
        for method in colours:
            own = [r for r in runs if r["method"] == method and _has(r, key)]
            for prefix, style, alpha in (("val_", "-", 1.0), ("", ":", 0.8)):
                epochs, values = mean_curves(
                    own, functools.partial(_column, key=key, prefix=prefix)
                )
                if epochs:
                    _draw_band(axes, epochs, values, colours[method], style, alpha)
        axes.set_title(
            f"{in_picture(student['name'].replace('_', ' '))}, width {student['width']:g}"
        )
        axes.grid(alpha=0.3)
        axes.set_xlabel("epoch")
    for axes in panels[::_PANELS_A_ROW]:
        axes.set_ylabel("accuracy, %")
    handles = _lines({_LABELS.get(m, m): (c, "-") for m, c in colours.items()})
    styles: dict[str, _Line] = {
        "validation": ("#57606a", "-"),
        "training batches": ("#57606a", ":"),
    }
    figure.legend(handles=handles + _lines(styles), loc="outside lower center", ncols=4, fontsize=8)
    figure.suptitle(f"{in_picture(results['name'])}: accuracy by epoch, mean over seeds")
    _save(figure, path)


def draw_reliability(found: Sequence[Method], name: str, path: str | Path) -> None:
    """Draws reliability diagrams, a panel for each student of the first method and the teacher.

    Args:
        found: Methods of the study; seeds are pooled.
        name: Name of the study.
        path: Path of the PNG file.
    """
    found = _told_apart(found, lambda method: method.name)
    first = found[0]
    count = len(first.rows) + (first.teacher is not None)
    figure = _figure(*_size(count, 3.3))
    colours = _colours(method.name for method in found)
    panels = _panels(figure, count)
    for axes, row in zip(panels, first.rows, strict=False):
        for method in found:
            for own in method.rows:
                if own.network == row.network:
                    _draw_bins(axes, own.reliability, colours[method.name], own.ece)
        axes.set_title(f"{in_picture(row.name.replace('_', ' '))}, width {row.width:g}")
    if first.teacher:
        _draw_bins(panels[-1], first.teacher.reliability, _TEACHER, first.teacher.ece)
        panels[-1].set_title("ensemble teacher")
    for axes in panels:
        axes.plot([0, 1], [0, 1], color="#57606a", linewidth=0.8, linestyle="--", zorder=1)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="confidence")
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", fontsize=7, handlelength=1.2)
    for axes in panels[::_PANELS_A_ROW]:
        axes.set_ylabel("accuracy")
    labels: dict[str, _Line] = {_LABELS.get(m, m): (c, "-") for m, c in colours.items()}
    labels["calibrated"] = ("#57606a", "--")
    figure.legend(handles=_lines(labels), loc="outside lower center", ncols=4, fontsize=8)
    figure.suptitle(
        f"{in_picture(name)}: reliability on the test split; larger dots stand for more images"
    )
    _save(figure, path)


def _draw_bins(
    axes: Any, bins: Sequence[tuple[int, float, float]], colour: Any, error: Spread
) -> None:
    filled = [one for one in bins if one[0]]
    total = sum(count for count, _, _ in filled)
    confidences = [confidence for _, confidence, _ in filled]
    accuracies = [accuracy for _, _, accuracy in filled]
    axes.plot(confidences, accuracies, color=colour, linewidth=1.2, zorder=2)
    axes.scatter(
        confidences,
        accuracies,
        [6 + 90 * count / total for count, _, _ in filled],
        color=colour,
        edgecolor="white",
        linewidth=0.5,
        zorder=3,
        label=f"ECE {100 * error.mean:.1f} %",
    )


def _draw_band(
    axes: Any,
    epochs: Sequence[float],
    values: Sequence[Spread],
    colour: Any,
    style: str,
    alpha: float,
) -> None:
    means = [100 * value.mean for value in values]
    axes.plot(epochs, means, style, color=colour, alpha=alpha, linewidth=1.2)
    if style == "-":
        spreads = [100 * (value.deviation or 0) for value in values]
        low = [m - s for m, s in zip(means, spreads, strict=True)]
        high = [m + s for m, s in zip(means, spreads, strict=True)]
        axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)


def _told_apart(items: Sequence[Any], name: Callable[[Any], str]) -> list[Any]:
    """The items, without ablations where there are too many to tell apart."""
    ablations = {name(item) for item in items} - set(METHODS)
    own = [item for item in items if name(item) in METHODS]
    return own if own and len(ablations) > _MOST_ABLATIONS else list(items)


def _has(run: RunRecord, key: str) -> bool:
    return any(network_key(student) == key for student in run["students"])


def _column(run: RunRecord, key: str, prefix: str) -> str:
    """The accuracy of a network in a run's metrics."""
    if run["student"]:
        return f"{prefix}accuracy"
    return next(f"{prefix}{s['name']}_accuracy" for s in run["students"] if network_key(s) == key)


def _colours(names: Iterable[str]) -> dict[str, Any]:
    from matplotlib import color_sequences

    palette = color_sequences["tab10"][1:]
    others = [name for name in names if name not in _COLOURS]
    found = {name: palette[index % len(palette)] for index, name in enumerate(others)}
    return {**_COLOURS, **found}


def _lines(labels: Mapping[str, _Line]) -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=colour, linestyle=style, linewidth=1.3, label=in_picture(label))
        for label, (colour, style) in labels.items()
    ]


def _size(panels: int, height: float = 2.8) -> tuple[float, float]:
    columns = min(panels, _PANELS_A_ROW)
    return 1.0 + 3.3 * columns, 1.0 + height * math.ceil(panels / _PANELS_A_ROW)


def _panels(figure: Any, count: int) -> list[Any]:
    columns = min(count, _PANELS_A_ROW)
    grid = figure.subplots(math.ceil(count / columns), columns, squeeze=False)
    panels = list(grid.flat)
    for unused in panels[count:]:
        unused.remove()
    return panels[:count]


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def _seeds(count: int) -> str:
    return f"{count} seeds" if count > 1 else "one seed"


def _save(figure: Any, path: str | Path) -> None:
    with temporary_path(path) as partial:
        figure.savefig(partial)
