"""The report of a study: Markdown, CSV and figures, from its results file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from oekd_tf import config as config_module
from oekd_tf.config.migration import migrate
from oekd_tf.core.files import write_text
from oekd_tf.core.json_files import read_file
from oekd_tf.core.records import Results, RunRecord
from oekd_tf.core.tables import markdown_table
from oekd_tf.core.text import in_code, in_markdown, printable
from oekd_tf.studies import results as results_file
from oekd_tf.studies.ablations import differences
from oekd_tf.studies.aggregate import Method, methods
from oekd_tf.studies.alternatives import alternatives
from oekd_tf.studies.by_method import MethodRow, by_method
from oekd_tf.studies.csv_files import methods_csv, runs_csv, summary_csv
from oekd_tf.studies.figures import (
    draw_accuracy,
    draw_curves,
    draw_gains,
    draw_reliability,
    has_gains,
)
from oekd_tf.studies.metrics import BINS
from oekd_tf.studies.plan import ALONE, MUTUAL, OFFLINE
from oekd_tf.studies.report_tables import (
    alternative_rows,
    brackets,
    difference_rows,
    is_uneven,
    method_rows,
    overview_rows,
    percent,
    quality_rows,
    student_rows,
    time_rows,
)
from oekd_tf.studies.statistics import ONE_SEED

# Fields that change the training of baselines, too.
_RECIPE = ("optimizer.", "schedule.", "backbone.", "label_loss.")

_BALANCED = (
    " *balanced*: mean over the classes of the share of a class's images that are taken for it; "
    "*against alone*: points of it above the same network trained alone, with the 95 % interval "
    "over the same seeds."
)

# End of the first line of a report, by which it is known again.
_TITLE = ": together and alone"

_METHODS = (
    "Test accuracies are means over {seeds}, as are all figures of this table. *mean gain*: "
    "100 (together − alone) / alone, the mean within a seed over the students that were trained "
    "alone, with the 95 % interval over these seeds; student by student under *Gains by method*. "
    "*teacher*: what the method takes for its ensemble teacher. *step*: time of a training step "
    "beside that of the first row, in the same seed and with as many cores, what an epoch takes "
    "besides included. All have the study's optimizer and schedule. All in `methods.csv`."
)

_WHAT = {
    OFFLINE: "Each student distilled from student 1, which was trained alone before: "
    "α CE + γ T² KL from the teacher, with ",
    MUTUAL: "Each student in a pair with a student 1 of its own; each of the two under its labels "
    "and the divergence from the other, at T = 1 "
    "([deep mutual learning](https://arxiv.org/abs/1706.00384)).",
}


def write_report(workdir: str | Path) -> str:
    """Writes `report.md`, `summary.csv`, `runs.csv` and the figures of a study.

    A study of several distillation methods has `methods.csv`, too. With more than four ablations
    only the figure of the gains shows them.

    Args:
        workdir: Folder of the study, with `results.json`; nothing else is read.

    Returns:
        Tables of gains and the paths of the files, for the terminal.

    Raises:
        ResultsError: There is no results file, or it holds no run, or report.md is another file.

    Example:
        >>> print(write_report("runs/compare_demo"))
    """
    workdir = Path(workdir)
    path = workdir / results_file.FILE_NAME
    results = results_file.read(path)
    if not _is_free(workdir / "report.md"):
        raise results_file.ResultsError(
            "The report of a study must not replace another file. "
            f"Received: {workdir / 'report.md'}, which is none"
        )
    found = methods(results)
    if not found:
        raise results_file.ResultsError(f"{path} must hold a finished run. Received: none")
    draw_accuracy(found, results["name"], workdir / "accuracy.png")
    draw_curves(results, workdir / "curves.png")
    draw_reliability(found, results["name"], workdir / "reliability.png")
    compared = by_method(results)
    if has_gains(found):
        labels = {
            row.name: row.label if row.seeds else f"{row.label}: {row.remark}" for row in compared
        }
        draw_gains(found, results["name"], workdir / "gains.png", labels)
    write_text(workdir / "summary.csv", summary_csv(found))
    write_text(workdir / "runs.csv", runs_csv(results["runs"]))
    if compared:
        write_text(workdir / "methods.csv", methods_csv(compared))
    write_text(workdir / "report.md", markdown(results))
    tables = "\n\n".join(
        f"{printable(method.name)}:\n\n{markdown_table(student_rows(method))}"
        for method in found
        if method.name != ALONE
    )
    if compared:
        tables += f"\n\nmethods, {_shared(compared)}:\n\n{markdown_table(method_rows(compared))}"
    files = "\n".join(
        f"{what}: {workdir / name}"
        for what, name in (
            ("results", results_file.FILE_NAME),
            ("report", "report.md"),
            ("tables", "summary.csv"),
            ("pictures", "accuracy.png"),
        )
    )
    parts = [tables, _too_few(found).replace("**", "").replace("`", ""), files]
    return "\n" + "\n\n".join(part for part in parts if part)


def _is_free(path: Path) -> bool:
    """Whether there is no report at a path, or one of this package."""
    if not path.exists():
        return True
    try:
        first = read_file(path).decode().partition("\n")[0]
    except (OSError, ValueError):
        return False
    return first.startswith("# ") and first.endswith(_TITLE)


def markdown(results: Results) -> str:
    """The report of a study as Markdown, a pure function of its results.

    Args:
        results: Content of the results file.

    Returns:
        The Markdown text.
    """
    found = methods(results)
    trained = [method for method in found if method.name != ALONE]
    parts = [f"# {in_markdown(results['name'])}{_TITLE}", _setting(results)]
    if remark := _too_few(found):
        parts.append(remark)
    if results.get("failed"):
        parts.append(
            "**Runs that failed** and are in no figure:\n\n"
            + "\n".join(
                f"- {in_markdown(title)}: {in_markdown(error)}"
                for title, error in results["failed"].items()
            )
        )
    labels: dict[str, str] = {}
    if compared := by_method(results):
        labels = {row.name: row.label for row in compared}
        text = _METHODS.format(seeds=_shared(compared))
        parts += ["## Methods", markdown_table(method_rows(compared)), text]
    for method in trained:
        parts.append(f"## {in_markdown(method.name)}")
        if method.name in _WHAT:
            parts.append(_what(method))
        if method.trained_by:
            parts.append(f"Students learn by {in_markdown(method.trained_by)}.")
        if method.overrides and method.name != OFFLINE:
            parts.append(_difference(method))
        parts.append(_verdicts(method))
        parts.append(markdown_table(student_rows(method)))
        if method.teacher:
            parts.append(f"{in_markdown(method.teacher_title)}: {percent(method.teacher[0])} %.")
    parts.append(
        "*together* and *alone* are test accuracies, mean ± sample standard deviation over seeds. "
        "*gain* is 100 (together − alone) / alone, the mean of the seeds' own gains, with the 95 % "
        "interval of Student's t. Within a seed the order of the data is the same, and so are the "
        "initial weights wherever all widths are. An interval speaks of the choice of seeds, not "
        "of the test images, and of one student at a time. MFLOPs count a multiplication and an "
        "addition as two; the int8 file is the TFLite file, int8 throughout. In picture: "
        "![accuracy against size](accuracy.png)"
    )
    others = alternatives(results, found)
    if others:
        parts += [
            "## Against what one would do otherwise",
            markdown_table(alternative_rows(others)),
            "The smallest two students. *ahead* is by how many points the ensemble is above, with "
            "its 95 % interval over the same seeds. *seconds* are of all training that a way needs "
            "for these students, a seed: the teacher of offline distillation, both networks of a "
            "pair. *models* are the networks of different size that come out.",
        ]
    if len(trained) > 1:
        parts += ["## Gains by method", markdown_table(overview_rows(trained, labels))]
        if has_gains(found):
            parts.append("![gains by method](gains.png)")
    against = differences(results)
    if against:
        parts += [
            "## Against the study's own ensemble",
            markdown_table(difference_rows(against, labels)),
            "Points of accuracy that each is above the ensemble with the study's own settings, "
            "with the 95 % interval over the same seeds; *mean* is of all students that both have, "
            "on the test images and, to choose by, on the validation images after the last epoch.",
        ]
    parts += [
        "## Likelihood, calibration, agreement",
        markdown_table(quality_rows(found)),
        f"On the test split. *NLL*: negative log-likelihood, nats. *ECE*: expected calibration "
        f"error over {BINS} bins ([Guo et al. 2017](https://arxiv.org/abs/1706.04599)). "
        "*agreement*: share of images on which the student and the ensemble teacher have the same "
        "top class; of a student alone, the teacher of the ensemble of its seed."
        + (_BALANCED if is_uneven(found) else ""),
        "![reliability diagram](reliability.png)",
        "## Training time",
        markdown_table(time_rows(found)),
        "Wall-clock seconds of training a seed, beside whatever else the machine did. *baselines* "
        "is the sum over all the same students, each trained alone. Parts that are lost when a run "
        "is killed and goes on are not in it." + _untimed(results["runs"]),
        "## Training",
        "![training curves](curves.png)",
        "Mean over seeds. " + _choice(results),
        "## How it was made",
        _provenance(results),
    ]
    return "\n\n".join(parts) + "\n"


def _shared(compared: Sequence[MethodRow]) -> str:
    """The seeds of the table of methods in words."""
    seeds = compared[0].seeds
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _setting(results: Results) -> str:
    runs = results["runs"]
    steps = sorted({run["steps"] for run in runs})
    epochs = sorted({run["epochs"] for run in runs})
    data = in_markdown("; ".join(sorted({run["data"] for run in runs})))
    seeds = ", ".join(str(seed) for seed in sorted({run["seed"] for run in runs}))
    length = f"{_numbers(steps)} steps in {_numbers(epochs)} epochs"
    if len(steps) > 1 or len(epochs) > 1:
        length += " (**not the same for all runs**)"
    return (
        f"Data: {data}. Seeds: {seeds}. Every run, together or alone: {length}, with the same "
        "data and augmentation, and, but for methods that say otherwise, the same optimizer and "
        f"schedule. It is measured on the test split {_when(results)}. A "
        "student alone is the very network that it is in the ensemble, with the same initial "
        "weights, and learns from the labels only."
    )


def _monitor(results: Results) -> str:
    """The log by which each run's epoch was chosen; "" where it is the last."""
    early = results["config"].get("early_stopping", {})
    return early.get("monitor", "") if early.get("restore_best") else ""


def _when(results: Results) -> str:
    if monitor := _monitor(results):
        log = in_code(monitor)
        return f"with the weights of the epoch that was best on the validation split ({log})"
    return "after the last epoch, never at the best one"


def _choice(results: Results) -> str:
    if monitor := _monitor(results):
        return (
            f"Each run's epoch was chosen by {in_code(monitor)}, or by its like of a student alone."
        )
    return "Nothing was chosen by these curves: every run is judged after its last epoch."


def _too_few(found: Sequence[Method]) -> str:
    """A remark where the seeds are too few to show anything, or nothing."""
    count = len({seed for method in found for seed in method.seeds})
    if count == 1:
        return (
            "**One seed shows nothing**: how far another seed is from it is not known. Add seeds: "
            "`--seeds=3`, or 5 for small differences."
        )
    if count == 2:
        return (
            "**Two seeds can show next to nothing**: with one degree of freedom a 95 % interval "
            "reaches 12.7 standard errors to both sides. Add seeds: `--seeds=3`, or 5 for small "
            "differences."
        )
    return ""


def _difference(method: Method) -> str:
    changes = ", ".join(in_code(f"{path} = {value!r}") for path, value in method.overrides.items())
    text = f"The ensemble with {changes}."
    if any(path.startswith(_RECIPE) for path in method.overrides):
        text += " **The baselines were trained without this change**, and are no fair match for it."
    return text


def _verdicts(method: Method) -> str:
    lines = []
    for row in method.rows:
        compressed = f", {row.compressed:.1f} % compressed" if row.compressed else ""
        who = f"{in_markdown(row.name)} ({row.parameters:,} parameters{compressed})"
        if not row.gain:
            lines.append(f"- {who}: no baseline of this network.")
        elif row.gain.verdict == ONE_SEED:
            lines.append(f"- {who}: {row.gain.mean:+.2f} %; one seed, from which nothing follows.")
        else:
            interval = brackets(row.gain)
            lines.append(
                f"- {who}: **{row.gain.verdict}**, {row.gain.mean:+.2f} % {interval} over "
                f"{len(row.gain.values)} seeds."
            )
    return "\n".join(lines)


def _what(method: Method) -> str:
    if method.name != OFFLINE:
        return _WHAT[method.name]
    own = [f"{p.rpartition('.')[2]} = {value!r}" for p, value in method.overrides.items()]
    settings = (
        f"settings of its own: {', '.join(map(in_code, own))}; others are the study's."
        if own
        else "the study's α, γ and T, which were not tuned for it."
    )
    return _WHAT[OFFLINE] + settings


def _untimed(runs: Sequence[RunRecord]) -> str:
    count = sum(run["train_seconds"] is None for run in runs)
    return f" {count} of {len(runs)} runs were not timed." if count else ""


def _provenance(results: Results) -> str:
    runs = results["runs"]
    commits = sorted({run["commit"] or "not in a repository" for run in runs})
    versions = sorted({", ".join(f"{k} {v}" for k, v in run["versions"].items()) for run in runs})
    config = migrate(results["config"])
    defaults = config_module.default_config()
    fields = []
    for path in config_module.FIELDS:
        if path.startswith(("export.", "fine_tuning.")):
            continue
        default = config_module.get(defaults, path)
        default = default.to_dict() if hasattr(default, "to_dict") else default
        default = list(default) if isinstance(default, tuple) else default
        value: Any = config
        for name in path.split("."):
            # A field that is newer than the study had its default value.
            value = value.get(name, default) if isinstance(value, Mapping) else value
        if path == "method.arguments":
            value = dict(sorted(value.items()))
        if value != default:
            fields.append(f"- {in_code(f'{path} = {value!r}')}")
    return (
        f"{_commands(results['command'])}\n\n"
        f"Commit: {in_markdown(', '.join(commits))}. Versions: {in_markdown('; '.join(versions))}."
        f"{in_markdown(_machines(runs))}\n\n"
        "Arguments of the method, and fields of the config that are not at their defaults (all are "
        "in `results.json`):\n\n" + "\n".join(fields)
    )


def _commands(commands: str) -> str:
    lines = commands.splitlines() or ["oekd_tf.comparison.compare(...)"]
    return "\n".join(f"    {printable(line)}" for line in lines)


def _machines(runs: Sequence[RunRecord]) -> str:
    known = [machine for run in runs if (machine := run.get("machine"))]
    machines = sorted({f"{one['processor']}, cores a run: {one['cores']}" for one in known})
    return f" Processor: {'; '.join(machines)}." if machines else ""


def _numbers(values: Sequence[int]) -> str:
    return " or ".join(f"{value:,}" for value in values)
