"""Studies of one recipe at several values of a field, such as the share of wrong labels.

Each value is a study in a folder of its own; the gains side by side say whether learning together
helps more or less as the value grows.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from oekd_tf import config as config_module
from oekd_tf.config.values import put_fields
from oekd_tf.core.errors import ConfigError
from oekd_tf.core.files import temporary_path, write_text
from oekd_tf.core.tables import markdown_table
from oekd_tf.core.text import in_code, in_picture
from oekd_tf.studies import results as results_file
from oekd_tf.studies.aggregate import Method, Row, methods
from oekd_tf.studies.report_tables import percent, with_interval
from oekd_tf.studies.statistics import interval
from oekd_tf.studies.study import compare

REPORT, PICTURE = "rates.md", "rates.png"


class Rates(NamedTuple):
    """A field and its values.

    Attributes:
        field: Dotted path of the field.
        values: Its values, at least two.
    """

    field: str
    values: tuple[Any, ...]

    def folder(self, value: Any) -> str:
        """Name of the folder of a value's study, below the workdir."""
        return f"{self.field.rpartition('.')[2]}_{value}"


def parse_rates(text: str) -> Rates:
    """Parses the flag --rates.

    Args:
        text: "FIELD:value,value,...", such as "data.label_noise:0,0.2,0.4".

    Returns:
        The field and its values.

    Raises:
        ConfigError: The text is none of this.

    Example:
        >>> parse_rates("data.imbalance:1,10,100").values
        (1, 10, 100)
    """
    field, _, rest = text.strip().partition(":")
    values = tuple(config_module.read_value(part.strip()) for part in rest.split(","))
    numbers = all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )
    if field not in config_module.FIELDS or not numbers or len(set(values)) < max(len(values), 2):
        raise ConfigError(
            "--rates must be FIELD:number,number of a field of the config, two numbers or more, "
            f"each once. Received: {text!r}"
        )
    return Rates(field, values)


def compare_by_rate(
    config: ConfigDict,
    workdir: str | Path,
    rates: Rates,
    *,
    log: Callable[[str], None] = print,
    **arguments: Any,
) -> None:
    """Compares students together and alone at each value, and reports gains by value.

    Args:
        config: Config of all studies but for the field.
        workdir: Folder of the studies, one below it for each value.
        rates: The field and its values.
        log: Called with each progress message.
        **arguments: Other arguments of `compare`, by name.

    Raises:
        ConfigError: A value breaks the field's rule, before any work is done.
    """
    configs = {}
    for value in rates.values:
        own = ConfigDict(config).copy_and_resolve_references()
        put_fields(own, {rates.field: str(value)})
        config_module.check(own)
        configs[value] = own
    for value, own in configs.items():
        log(f"{rates.field} = {value}")
        compare(own, Path(workdir) / rates.folder(value), log=log, **arguments)
        log(write_rates(workdir, rates))


def write_rates(workdir: str | Path, rates: Rates) -> str:
    """Writes `rates.md` and `rates.png` of the studies that have results.

    Args:
        workdir: Folder of the studies.
        rates: The field and its values.

    Returns:
        The table and the paths of the files, for the terminal.

    Raises:
        ConfigError: No study has results.
    """
    workdir = Path(workdir)
    found: dict[Any, list[Method]] = {}
    for value in rates.values:
        path = workdir / rates.folder(value) / results_file.FILE_NAME
        if path.exists():
            found[value] = methods(results_file.read(path))
    if not found:
        raise ConfigError(
            f"A workdir must hold studies of --rates. Received: {workdir}, which has no "
            f"{rates.folder(rates.values[0])}"
        )
    gains = markdown_table(rate_rows(found))
    accuracies = markdown_table(_value_rows(found, lambda row: percent(row.accuracy)))
    worst = ""
    if any(row.worst for own in found.values() for method in own for row in method.rows):
        table = markdown_table(_value_rows(found, _worst))
        worst = (
            f"\n## Worst class\n\n{table}\n\nLowest recall of a class in %, mean ± standard "
            "deviation over seeds; then the points of it above the same student alone, with the "
            "95 % interval.\n"
        )
    _draw(found, rates.field, workdir / PICTURE)
    first = next(iter(found))
    write_text(
        workdir / REPORT,
        f"# Gains by {in_code(rates.field)}\n\n{gains}\n\nGain over the same student alone at the "
        "same value, in %, with the 95 % interval over seeds. *more at* a value: points of gain "
        f"above those at {first}, over the seeds that both have.\n\n![gains]({PICTURE})\n\n"
        f"## Accuracies\n\n{accuracies}\n\nTest accuracy in %, mean ± standard deviation over "
        f"seeds.\n{worst}",
    )
    return "\n".join(
        ["", gains, "", f"report: {workdir / REPORT}", f"picture: {workdir / PICTURE}"]
    )


def rate_rows(found: dict[Any, list[Method]]) -> list[dict[str, str]]:
    """The table of gains: a row for each method and student that has a baseline.

    Args:
        found: Methods of the study of each value.

    Returns:
        Text by column: the gain at each value, and for the last one how much more it is.
    """
    rows = []
    for method, student in _named(found):
        line = {"students": method, "student": student}
        for value, own in found.items():
            row = _row(own, method, student)
            line[f"at {value}"] = with_interval(row.gain if row else None)
        if not any(line[f"at {value}"] for value in found):
            continue
        first, last = next(iter(found)), list(found)[-1]
        if len(found) > 1:
            early, late = (_gains(found[value], method, student) for value in (first, last))
            more = [late[seed] - early[seed] for seed in early if seed in late]
            line[f"more at {last}"] = with_interval(interval(more)) if more else ""
        rows.append(line)
    if not rows:
        return [{"students": "", "student": "", **{f"at {value}": "" for value in found}}]
    return rows


def _named(found: dict[Any, list[Method]]) -> list[tuple[str, str]]:
    """Names of methods and their students, each once; those alone have no gains."""
    pairs = [
        (method.name, row.name) for own in found.values() for method in own for row in method.rows
    ]
    return list(dict.fromkeys(pairs))


def _row(own: Sequence[Method], method: str, student: str) -> Row | None:
    rows = (row for one in own if one.name == method for row in one.rows if row.name == student)
    return next(rows, None)


def _gains(own: Sequence[Method], method: str, student: str) -> dict[int, float]:
    """Gains by seed; none where a seed has no baseline."""
    row = _row(own, method, student)
    seeds = next((one.seeds for one in own if one.name == method), ())
    if row is None or row.gain is None or len(row.gain.values) != len(seeds):
        return {}
    return dict(zip(seeds, row.gain.values, strict=True))


def _value_rows(found: dict[Any, list[Method]], text: Callable[[Row], str]) -> list[dict[str, str]]:
    """A row for each method and student, with a text of it at each value."""
    rows = []
    for method, student in _named(found):
        line = {"students": method, "student": student}
        for value, own in found.items():
            row = _row(own, method, student)
            line[f"at {value}"] = text(row) if row else ""
        rows.append(line)
    return rows


def _worst(row: Row) -> str:
    parts = [percent(row.worst)]
    if row.worst_gain:
        parts.append(with_interval(row.worst_gain))
    return ", ".join(parts)


def _draw(found: dict[Any, list[Method]], field: str, path: Path) -> None:
    from matplotlib import color_sequences
    from matplotlib.figure import Figure

    pairs = [
        (method, student)
        for method, student in _named(found)
        if any((row := _row(own, method, student)) and row.gain for own in found.values())
    ]
    students = list(dict.fromkeys(student for _, student in pairs)) or ["no baseline"]
    names = list(dict.fromkeys(method for method, _ in pairs))
    figure = Figure(figsize=(1 + 2.9 * len(students), 3.6), dpi=120, layout="constrained")
    panels = figure.subplots(1, len(students), sharey=True, squeeze=False).flat
    for axes, student in zip(panels, students, strict=True):
        axes.axhline(0, color="#57606a", linewidth=0.8)
        for number, method in enumerate(names):
            places, gains = [], []
            for place, own in enumerate(found.values()):
                row = _row(own, method, student)
                if row and row.gain:
                    places.append(place + 0.1 * (number - (len(names) - 1) / 2))
                    gains.append(row.gain)
            ends = [(g.mean - g.low, g.high - g.mean) if g.low is not None and g.high is not None
                    else (0.0, 0.0) for g in gains]  # fmt: skip
            axes.errorbar(
                places, [gain.mean for gain in gains], list(zip(*ends, strict=True)) or None,
                fmt="o-", markersize=4, linewidth=1.2, capsize=2,
                color=color_sequences["tab10"][number % 10], label=in_picture(method),
            )  # fmt: skip
        axes.set_xticks(range(len(found)), [str(value) for value in found])
        axes.set_title(in_picture(student.replace("_", " ")), fontsize=9)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("gain over the student alone, %")
    figure.supxlabel(in_picture(field), fontsize=9)
    if names:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=8)
    with temporary_path(path) as partial:
        figure.savefig(partial)
