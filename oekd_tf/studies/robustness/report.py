"""The report of a run's robustness: tables and a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oekd_tf.core.files import temporary_path, write_text
from oekd_tf.core.records import Robustness, RobustNetwork
from oekd_tf.core.tables import markdown_table
from oekd_tf.studies.robustness import properties as known
from oekd_tf.studies.robustness.lines import Line
from oekd_tf.studies.robustness.material import Column, Settings
from oekd_tf.studies.robustness.subjects import ALONE, KERAS, TOGETHER

_LEGEND = (
    "*of test*: the share of the accuracy on test images that is kept on corrupted ones. *PGD*, "
    "*FGSM*: accuracy on adversarial examples of the network's own (a file's: of its Keras "
    "network), with changes up to so many of 255; *transfer*: on those that PGD makes on student "
    "1. *pruned*: that share of weights is zero. *ECE scaled*: with a temperature fitted on "
    "validation images. *AUROC*: how well its top probability tells test images from others, 50 % "
    "is not at all. Corruptions are in the manner of CIFAR-10-C, with pixels of their own."
)


def write_report(folder: str | Path, found: Robustness) -> str:
    """Writes `report.md` and `robustness.png`.

    Args:
        folder: Folder to write to.
        found: Content of `robustness.json`.

    Returns:
        The tables and the paths of the files, for the terminal.
    """
    folder = Path(folder)
    settings = settings_of(found)
    channels = 3
    if found["contract"]:
        channels = found["contract"]["image_shape"][2]
    names = [name for name in found["properties"] if name in known.names()]
    columns = [column for name in names for column in known.module(name).summary(settings)]
    table = markdown_table(_rows(found["networks"], columns))
    differences = difference_rows(found["networks"], columns)
    beside = ""
    if differences:
        beside = f"Together less alone, in points:\n\n{markdown_table(differences)}\n"
    sections = ""
    for name in names:
        if details := known.module(name).details(settings, channels):
            own = [network for network in found["networks"] if name in network["scores"]]
            sections += f"\n## {name.capitalize()}\n\n{markdown_table(_rows(own, details))}\n"
        if own_picture := getattr(known.module(name), "PICTURE", ""):
            sections += f"\n![{name}]({own_picture})\n"
    picture = folder / "robustness.png"
    _draw(found, names, settings, picture)
    write_text(
        folder / "report.md",
        f"# Robustness\n\n{found['images']:,} test images; severities "
        f"{', '.join(map(str, settings.severities))}; seed {settings.seed}.\n\n{table}\n\n"
        f"{beside}\n{_LEGEND}\n\n![robustness](robustness.png)\n{sections}",
    )
    parts = ["", table, "", *([beside] if beside else [])]
    return "\n".join([*parts, f"report: {folder / 'report.md'}", f"picture: {picture}"])


def settings_of(found: Robustness) -> Settings:
    """The settings that `robustness.json` holds."""
    own = {name: found["settings"][name] for name in Settings._fields if name in found["settings"]}
    values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in own.items()}
    return Settings(**values)


def _rows(networks: Sequence[RobustNetwork], columns: Sequence[Column]) -> list[dict[str, str]]:
    rows = []
    for network in networks:
        row = {name: str(network[name]) for name in ("student", "trained", "form")}
        for column in columns:
            value = column.value(network["scores"])
            row[column.title] = "" if value is None else f"{value:.{column.digits}f}"
        rows.append(row)
    return rows


def difference_rows(
    networks: Sequence[RobustNetwork], columns: Sequence[Column]
) -> list[dict[str, str]]:
    """What learning together changed: a row for each network that was trained alone, too.

    Args:
        networks: The networks.
        columns: Columns of the table.
    """
    baselines = {(n["student"], n["form"]): n["scores"] for n in networks if n["trained"] == ALONE}
    rows = []
    for network in networks:
        key = network["student"], network["form"]
        alone = baselines.get(key)
        if network["trained"] != TOGETHER or alone is None:
            continue
        row: dict[str, str] = {"student": key[0], "form": key[1]}
        for column in columns:
            first, second = column.value(network["scores"]), column.value(alone)
            title = column.title.removesuffix(" %")
            row[title] = ""
            if first is not None and second is not None:
                row[title] = f"{first - second:+.{column.digits}f}"
        rows.append(row)
    return rows


def _draw(found: Robustness, names: Sequence[str], settings: Settings, path: Path) -> None:
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    drawn = [name for name in names if hasattr(known.module(name), "draw")]
    students = list(dict.fromkeys(network["student"] for network in found["networks"]))
    colours = {
        name: colormaps["viridis"](0.92 * number / max(len(students) - 1, 1))
        for number, name in enumerate(students)
    }
    networks = [
        Line(n["student"], n["trained"], colours[n["student"]], n["scores"])
        for n in found["networks"]
        if n["form"] == KERAS
    ]
    panels = len(drawn) + 1
    columns = min(panels, 3)
    rows = -(-panels // columns)
    figure = Figure(figsize=(4 * columns, 3.1 * rows), dpi=120, layout="constrained")
    for place, name in enumerate(drawn, start=1):
        known.module(name).draw(figure.add_subplot(rows, columns, place), networks, settings)
    legend = figure.add_subplot(rows, columns, panels)
    legend.axis("off")
    marks = [Line2D([], [], color=c, linewidth=3, label=n) for n, c in colours.items()]
    styles = {TOGETHER: ("o-", "trained together"), ALONE: ("s--", "the same student alone")}
    for trained, (style, title) in styles.items():
        if any(network.trained == trained for network in networks):
            marks += legend.plot([], [], style, color="#57606a", label=title)
    legend.legend(handles=marks, loc="center", frameon=False)
    with temporary_path(path) as partial:
        figure.savefig(partial)
