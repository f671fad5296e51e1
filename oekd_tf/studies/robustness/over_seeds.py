"""Robustness over the seeds of a study: what learning together changes, with intervals."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from oekd_tf.core.errors import ConfigError
from oekd_tf.core.files import temporary_path, write_text
from oekd_tf.core.records import Robustness, RobustNetwork
from oekd_tf.core.tables import markdown_table
from oekd_tf.core.text import in_picture
from oekd_tf.studies.report_tables import plus_minus, with_interval
from oekd_tf.studies.robustness import properties as known
from oekd_tf.studies.robustness.material import Column, Settings
from oekd_tf.studies.robustness.measure import FOLDER, check_settings, measure_robustness
from oekd_tf.studies.robustness.report import settings_of
from oekd_tf.studies.robustness.subjects import ALONE, KERAS, TOGETHER
from oekd_tf.studies.statistics import GAINS, LOSES, Interval, interval, spread

PICTURE = "differences.png"

# Networks of a student in one form, by how they were trained, seed by seed.
_Networks = dict[tuple[str, str], dict[str, list[RobustNetwork]]]


def measure_study(
    workdir: str | Path,
    settings: Settings | None = None,
    *,
    properties: Sequence[str] = (),
    log: Callable[[str], None] = print,
    **arguments: Any,
) -> dict[str, Robustness]:
    """Measures every seed of a study, and reports what learning together changes.

    Each seed is measured as a run, in its own folder. `robustness/report.md` and `differences.png`
    in the study's folder then have means over seeds, and the differences of students together and
    alone, paired by seed.

    Args:
        workdir: Folder of a study of `oekd compare`.
        settings: What is measured; `Settings()` if None.
        properties: Names of properties; all if empty.
        log: Called with each progress message.
        **arguments: Other arguments of `measure_robustness`.

    Returns:
        What was measured, by the name of the seed's folder.

    Raises:
        ConfigError: The folder holds no seed that has finished, or as of `measure_robustness`.

    Example:
        >>> oekd_tf.robustness.measure_study("runs/compare_demo")
    """
    workdir = Path(workdir)
    settings = settings or Settings()
    check_settings(settings, properties)
    found = {}
    for folder in seeds_of(workdir):
        log(f"{folder.name}:")
        found[folder.name] = measure_robustness(
            folder, settings, properties=properties, log=log, **arguments
        )
    if not found:
        raise ConfigError(
            f"A workdir must hold a study with a finished ensemble. Received: {workdir}"
        )
    log(write_differences(workdir / FOLDER, found))
    return found


def seeds_of(workdir: str | Path) -> list[Path]:
    """Folders of a study's finished ensembles, by seed; none for a folder that is no study."""
    folders = [path.parent for path in Path(workdir).glob("seed_*/summary.json")]
    return sorted(folders, key=lambda folder: (len(folder.name), folder.name))


def write_differences(folder: str | Path, found: Mapping[str, Robustness]) -> str:
    """Writes `report.md` and `differences.png`.

    Args:
        folder: Folder to write to.
        found: What was measured, by seed.

    Returns:
        The table of differences and the paths of the files, for the terminal.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    one = next(iter(found.values()))
    settings = settings_of(one)
    columns = [
        column for name in one["properties"] for column in known.module(name).summary(settings)
    ]
    networks = _by_network(found.values())
    means = [
        {
            "student": student,
            "trained": trained,
            "form": form,
            **{column.title: _mean(own, column) for column in columns},
        }
        for trained in (TOGETHER, ALONE)
        for (student, form), by_way in networks.items()
        if (own := by_way.get(trained))
    ]
    differences: dict[tuple[str, str], dict[str, Interval | None]] = {
        key: {column.title: _difference(by_way, column) for column in columns}
        for key, by_way in networks.items()
        if len(by_way.get(ALONE, ())) == len(by_way.get(TOGETHER, ()))
    }
    rows = [
        {"student": key[0], "form": key[1]}
        | {title.removesuffix(" %"): with_interval(own[title]) for title in own}
        for key, own in differences.items()
    ]
    table = markdown_table(rows) if rows else "No student was trained alone, too."
    picture = ""
    if rows:
        _draw(differences, folder / PICTURE)
        picture = f"![differences]({PICTURE})\n\n"
    write_text(
        folder / "report.md",
        f"# Robustness over {len(found)} seeds\n\nTogether less alone, in points, with the 95 % "
        f"interval over seeds:\n\n{table}\n\n{picture}Mean ± standard deviation over seeds, of "
        f"{one['images']:,} test images:\n\n{markdown_table(means)}\n\nColumns are those of the "
        "seeds' own reports.\n",
    )
    return "\n".join(["", table, "", f"report: {folder / 'report.md'}"])


def _by_network(found: Any) -> _Networks:
    networks: _Networks = {}
    for one in found:
        for network in one["networks"]:
            by_way = networks.setdefault((network["student"], network["form"]), {})
            by_way.setdefault(network["trained"], []).append(network)
    return networks


def _mean(own: Sequence[RobustNetwork], column: Column) -> str:
    values = [v for network in own if (v := column.value(network["scores"])) is not None]
    return plus_minus(spread(values), column.digits) if values else ""


def _difference(by_way: Mapping[str, list[RobustNetwork]], column: Column) -> Interval | None:
    differences = []
    for together, alone in zip(by_way[TOGETHER], by_way[ALONE], strict=True):
        first, second = column.value(together["scores"]), column.value(alone["scores"])
        if first is None or second is None:
            return None
        differences.append(first - second)
    return interval(differences)


def _draw(differences: Mapping[tuple[str, str], Mapping[str, Interval | None]], path: Path) -> None:
    from matplotlib.figure import Figure

    own = {student: row for (student, form), row in differences.items() if form == KERAS}
    titles = [t for t in next(iter(own.values())) if any(row[t] for row in own.values())]
    columns = min(len(titles), 5)
    rows = -(-len(titles) // columns)
    figure = Figure(
        figsize=(1.2 + 2.2 * columns, rows * (0.9 + 0.3 * len(own))), dpi=130, layout="constrained"
    )
    for place, title in enumerate(titles, start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.axvline(0, color="#57606a", linewidth=0.8)
        for height, row in enumerate(own.values()):
            if not (found := row[title]):
                continue
            colour = "#1f6feb" if found.verdict in (GAINS, LOSES) else "#8b949e"
            low = found.mean if found.low is None else found.low
            high = found.mean if found.high is None else found.high
            axes.plot([low, high], [height, height], color=colour, linewidth=1.6)
            axes.plot(found.mean, height, "o", color=colour, markersize=4)
        names = [in_picture(name.replace("_", " ")) for name in own]
        axes.set_yticks(range(len(own)), names if place % columns == 1 or columns == 1 else [])
        axes.set_ylim(len(own) - 0.5, -0.5)
        axes.set_title(in_picture(title.removesuffix(" %")), fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
    figure.supxlabel("together less alone, points, with the 95 % interval over seeds", fontsize=9)
    with temporary_path(path) as partial:
        figure.savefig(partial)
