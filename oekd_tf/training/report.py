"""The report of a run: a table and a figure, from the files in its workdir."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oekd_tf.core import classes
from oekd_tf.core.array_files import read_arrays
from oekd_tf.core.errors import ConfigError
from oekd_tf.core.files import temporary_path, write_text
from oekd_tf.core.pictures import place_labels, plain_log_axis
from oekd_tf.core.records import Manifest, StudentSummary, Summary
from oekd_tf.core.tables import markdown_table
from oekd_tf.core.text import in_code, in_markdown, in_picture
from oekd_tf.device.manifest import read_manifest
from oekd_tf.training.summary import read_summary

# Most rows of the table of classes.
_MOST_CLASSES = 100

_FORMAT_TITLES = {"saved_model": "SavedModel", "float32": "float32 kB", "int8": "int8 kB"}


def write_report(workdir: str | Path) -> str:
    """Writes `report.md` and `accuracy.png` of a finished run.

    Args:
        workdir: Folder of an ensemble's run, with `summary.json`. Baselines below it and the
            manifest of its export are included if they exist.

    Returns:
        The table and the paths of the files, for the terminal.

    Example:
        >>> print(write_report("runs/demo"))
    """
    workdir = Path(workdir)
    summary = read_summary(workdir)
    if summary["teacher_test_accuracy"] is None:
        raise ConfigError(
            f"A report must be of an ensemble's run. Received: {workdir}, whose summary has no "
            "teacher"
        )
    baselines = _baselines(workdir)
    manifest = _manifest(summary)
    rows = student_rows(summary, baselines, manifest)
    table = markdown_table(rows)
    files_table = _files(manifest, workdir / "trade_off.png") if manifest else ""
    title = summary.get("teacher_title", "Ensemble teacher (all students together)")
    teacher = f"{in_markdown(title)}: {summary['teacher_test_accuracy']:.2%}.{_behind(summary)}"
    note = summary.get("note", "")
    paragraph = f"{in_markdown(note)}\n\n" if note else ""
    method = f"Method: {in_markdown(summary['trained_by'])}. " if "trained_by" in summary else ""
    if "start" in summary:
        method += f"Start: {in_markdown(summary['start'])}. "
    picture = workdir / "accuracy.png"
    draw_accuracy(summary, baselines, picture, manifest)
    write_text(
        workdir / "report.md",
        f"# {in_markdown(summary['name'])}\n\n"
        f"Test accuracy {_when(summary)}, seed {summary['seed']}. "
        f"{method}Data: {in_markdown(summary['data'])}.\n\n{table}\n\n{teacher} "
        "*alone* is the same student trained by itself for as many steps; *gain* is relative "
        "to it. MFLOPs count a multiplication and an addition as two.\n\n"
        f"{paragraph}![accuracy against size](accuracy.png)\n\n{class_section(summary, workdir)}"
        f"{files_table}{_data_notes(summary)}"
        f"The config: {in_code(workdir / 'config.json')}.\n",
    )
    files = f"report: {workdir / 'report.md'}\npicture: {picture}"
    if manifest is not None:
        files += f"\nstudents: {summary['exports']}"
    return "\n".join(["", table, "", teacher, *([note] if note else []), files])


def _when(summary: Summary) -> str:
    """Which epoch's weights were tested."""
    early = summary.get("early_stopping")
    if early is None:
        return f"after the last of {summary['epochs']} epochs"
    done, planned = early["stopped_epoch"], early["planned_epochs"]
    ended = f"stopped after epoch {done} of {planned}" if done < planned else f"{done} epochs"
    best = f"{early['monitor']} was best in epoch {early['best_epoch']}, {early['best_value']:.4f}"
    return f"with the weights of epoch {early['restored_epoch']} ({ended}; {best})"


def student_rows(
    summary: Summary, baselines: dict[str, StudentSummary], manifest: Manifest | None = None
) -> list[dict[str, str]]:
    """The table of a run.

    Args:
        summary: Content of an ensemble's `summary.json`.
        baselines: Entries of the students in their baselines' summaries, by name.
        manifest: Manifest of the export; None without one.

    Returns:
        One row for each student: text by column. There are columns about baselines and exports only
        if there are some.
    """
    exported = manifest["students"] if manifest else []
    files = {student["name"]: student["formats"] for student in exported}
    full = max(summary["students"][0]["parameters"], 1)
    rows = []
    for student in summary["students"]:
        name, accuracy = student["name"], student["test_accuracy"]
        row = {
            "student": name,
            "width": f"{student['width']:g}",
            "parameters": f"{student['parameters']:,}",
            "% compressed": f"{100 * (1 - student['parameters'] / full):.1f}",
            "MFLOPs": f"{student['flops'] / 1e6:.2f}",
            "accuracy %": f"{100 * accuracy:.2f}",
        }
        if baselines:
            alone = baselines[name]["test_accuracy"] if name in baselines else None
            row["alone %"] = f"{100 * alone:.2f}" if alone else ""
            row["gain %"] = f"{100 * (accuracy - alone) / alone:+.2f}" if alone else ""
        for file_format, title in _FORMAT_TITLES.items():
            if any(file_format in formats for formats in files.values()):
                own = files.get(name, {})
                size = own[file_format]["bytes"] if file_format in own else None
                title = title if "kB" in title else f"{title} kB"
                row[title] = f"{size / 1000:.1f}" if size else ""
        rows.append(row)
    return rows


def _data_notes(summary: Summary) -> str:
    notes = summary.get("data_notes")
    return (
        "## Data\n\n" + "".join(f"- {in_markdown(note)}\n" for note in notes) + "\n"
        if notes
        else ""
    )


def _behind(summary: Summary) -> str:
    """A remark where the teacher is worse than a student of its own."""
    teacher, first = summary["teacher_test_accuracy"], summary["students"][0]
    if teacher is None or teacher >= first["test_accuracy"]:
        return ""
    return (
        f" **It is less accurate than student 1** ({first['test_accuracy']:.2%}), from which "
        "the others would learn more."
    )


def class_rows(summary: Summary) -> list[dict[str, str]]:
    """The table of balanced accuracies and worst classes.

    Args:
        summary: Content of a `summary.json` that has `per_class`.

    Returns:
        One row for each student and the teacher: text by column.
    """
    tested = {one["name"]: one["test_accuracy"] for one in summary["students"]}
    tested["teacher"] = summary["teacher_test_accuracy"] or 0.0
    return [
        {
            "network": name,
            "accuracy %": f"{100 * tested[name]:.2f}",
            "balanced accuracy %": f"{100 * scores['balanced_accuracy']:.2f}",
            "worst class": scores["worst_class"],
            "its recall %": f"{100 * scores['worst_recall']:.2f}",
        }
        for name, scores in summary["per_class"]["networks"].items()
    ]


def class_section(summary: Summary, workdir: Path) -> str:
    """The section about classes, and its picture; "" for a run without them.

    Args:
        summary: Content of the run's `summary.json`.
        workdir: Folder of the run, with `confusion.npz`.

    Returns:
        Markdown text, with a blank line at its end.
    """
    found = summary.get("per_class")
    if found is None:
        return ""
    picture = ""
    if (workdir / "confusion.npz").exists():
        from oekd_tf.training.confusion import draw_confusion

        matrices = _confusions(workdir / "confusion.npz", len(found["class_names"]))
        draw_confusion(matrices, found["class_names"], workdir / "confusion.png")
        picture = "![confusion](confusion.png)\n\n"
    order = list(range(len(found["class_names"])))
    which = "All classes"
    if len(order) > _MOST_CLASSES:
        last = summary["students"][-1]["name"]
        recall = found["networks"][last]["recall"]
        order = classes.worst_classes(recall)[:_MOST_CLASSES]
        which = f"The {_MOST_CLASSES} of {len(recall)} classes that {last} does worst at"
    counts = found["train_examples"]
    rows = [
        {
            "class": found["class_names"][index],
            **({} if counts is None else {"training images": f"{counts[index]:,}"}),
            "test images": f"{found['test_examples'][index]:,}",
            **{
                f"{name} %": _percent(scores["recall"][index])
                for name, scores in found["networks"].items()
            },
        }
        for index in order
    ]
    span = ""
    if counts is not None:
        span = f"Training images of a class: {min(counts):,} to {max(counts):,}. "
    return (
        f"## Classes\n\n{markdown_table(class_rows(summary))}\n\n{span}*recall* is the share of a "
        "class's test images that are taken for it, *balanced accuracy* its mean over the "
        f"classes.\n\n{picture}{which} by recall:\n\n{markdown_table(rows)}\n\n"
    )


def _confusions(path: Path, classes: int) -> dict[str, np.ndarray]:
    what = f"numbers of images of {classes} classes, by network"
    matrices = read_arrays(path, what, ConfigError)
    for name, matrix in matrices.items():
        if matrix.shape != (classes, classes) or matrix.min() < 0:
            raise ConfigError(f"{path} must be {what}. Received: {name} of shape {matrix.shape}")
    if not matrices:
        raise ConfigError(f"{path} must be {what}. Received: none")
    return matrices


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def draw_accuracy(
    summary: Summary,
    baselines: dict[str, StudentSummary],
    path: str | Path,
    manifest: Manifest | None = None,
) -> None:
    """Draws accuracy against size, of the ensemble and of baselines.

    Args:
        summary: Content of an ensemble's `summary.json`.
        baselines: Baselines, as in `student_rows`.
        path: Path of the PNG file.
        manifest: Manifest of the export, whose files' sizes are then the axis where each student
            has one of a format; otherwise the axis is the number of parameters.
    """
    figure = accuracy_figure(summary, baselines, manifest)
    with temporary_path(path) as partial:
        figure.savefig(partial)


def accuracy_figure(
    summary: Summary, baselines: dict[str, StudentSummary], manifest: Manifest | None = None
) -> Any:
    """The figure of `draw_accuracy`, whose arguments it has.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    students = summary["students"]
    title, sizes = _sizes(students, manifest)
    places = [(sizes[s["name"]], 100 * s["test_accuracy"]) for s in students]
    axes.plot(*zip(*places, strict=True), "o-", color="#1f6feb", label="trained together", zorder=3)
    if baselines:
        alone = sorted(baselines.values(), key=lambda student: sizes[student["name"]])
        axes.plot(
            [sizes[student["name"]] for student in alone],
            [100 * student["test_accuracy"] for student in alone],
            "s--" if len(alone) > 1 else "s",
            color="#8b949e",
            label="the same student trained alone",
        )
    teacher = summary["teacher_test_accuracy"]
    assert teacher is not None, "An ensemble's summary has its teacher's accuracy"
    axes.axhline(100 * teacher, color="#d29922", linestyle=":", label="ensemble teacher")
    axes.margins(x=0.12, y=0.22)
    plain_log_axis(axes.xaxis)
    axes.set_xlabel(title)
    axes.set_ylabel("test accuracy, %")
    axes.set_title(f"{in_picture(summary['name'])}: one training run, {len(students)} networks")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    texts = [f"{in_picture(s['name'].replace('_', ' '))}\nwidth {s['width']:g}" for s in students]
    place_labels(axes, places, texts)
    return figure


def _sizes(
    students: Sequence[StudentSummary], manifest: Manifest | None
) -> tuple[str, dict[str, float]]:
    """Title of the axis of sizes, and the size of each student."""
    exported = manifest["students"] if manifest else []
    files = {student["name"]: student["formats"] for student in exported}
    names = [student["name"] for student in students]
    shared = [
        name
        for name in files.get(names[0], {})
        if all(name in files.get(other, {}) for other in names)
    ]
    if not shared:
        return "trainable parameters", {s["name"]: s["parameters"] for s in students}
    chosen = "int8" if "int8" in shared else shared[0]
    return (
        f"size of the {chosen} file, kB",
        {name: files[name][chosen]["bytes"] / 1000 for name in names},
    )


def _files(manifest: Manifest, picture: Path) -> str:
    """The section about exported files, and its figure."""
    from oekd_tf.device.pareto import draw_trade_off, trade_off_rows

    draw_trade_off(manifest, picture)
    table = markdown_table(trade_off_rows(manifest))
    failures = "".join(
        f"\nRefused: {in_markdown(failure)}.\n" for failure in manifest.get("failures", [])
    )
    return (
        f"## Exported files\n\n{table}\n\n*drop* is in points, from the Keras student; * marks "
        "the files that none beats in size and accuracy together.\n"
        f"{failures}\n![accuracy against size and latency](trade_off.png)\n\n"
    )


def _baselines(workdir: Path) -> dict[str, StudentSummary]:
    found = {}
    for path in sorted(workdir.glob("baseline_student_*/summary.json")):
        student = read_summary(path.parent)["students"][0]
        found[student["name"]] = student
    return found


def _manifest(summary: Summary) -> Manifest | None:
    if "exports" not in summary:
        return None
    try:
        return read_manifest(summary["exports"])
    except OSError:
        # It was moved, or deleted.
        return None
