"""Metrics of a study as CSV, by student, by run and by method."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from oekd_tf.core.records import RunRecord
from oekd_tf.studies.aggregate import Method, Row
from oekd_tf.studies.by_method import MethodRow
from oekd_tf.studies.statistics import Interval, Spread


def summary_csv(found: Iterable[Method]) -> str:
    """A row for each student and teacher of each method, over all seeds.

    Args:
        found: Methods of the study.

    Returns:
        CSV with a header; accuracies from 0 to 1, gains in %.
    """
    lines = []
    for method in found:
        lines += [_summary_line(method, row) for row in method.rows]
        if method.teacher:
            lines.append(
                {
                    **dict.fromkeys(lines[-1], ""),
                    "method": method.name,
                    "student": "teacher",
                    "seeds": method.teacher.accuracy.count,
                    **_columns("accuracy", method.teacher.accuracy),
                    **_columns("nll", method.teacher.nll),
                    **_columns("ece", method.teacher.ece),
                }
            )
    return _csv(lines)


def _summary_line(method: Method, row: Row) -> dict[str, Any]:
    gain = row.gain
    return {
        "method": method.name,
        "student": row.name,
        "width": row.width,
        "parameters": row.parameters,
        "compressed_percent": row.compressed,
        "flops": row.flops,
        "int8_bytes": row.int8_bytes,
        "seeds": row.accuracy.count,
        **_columns("accuracy", row.accuracy),
        **_columns("alone", row.alone),
        "gain_seeds": len(gain.values) if gain else None,
        **_gain("gain", gain),
        "verdict": gain.verdict if gain else "",
        **_columns("nll", row.nll),
        **_columns("ece", row.ece),
        **_columns("agreement", row.agreement),
    }


def runs_csv(runs: Iterable[RunRecord]) -> str:
    """A row for each student and teacher of each run.

    Args:
        runs: Runs of the results file.

    Returns:
        CSV with a header; accuracies from 0 to 1.
    """
    lines = []
    runs = list(runs)
    facts = ["width", "parameters", "flops", "accuracy", "nll", "ece", "agreement"]
    if any("balanced_accuracy" in one for run in runs for one in run["students"]):
        facts.insert(4, "balanced_accuracy")
    for run in runs:
        teacher = [{"name": "teacher", **run["teacher"]}] if run["teacher"] else []
        for one in (*run["students"], *teacher):
            lines.append(
                {
                    "method": run["method"],
                    "seed": run["seed"],
                    "student": one["name"],
                    **{fact: one.get(fact) for fact in facts},
                    "epochs": run["epochs"],
                    "steps": run["steps"],
                    # The whole run's, for all students that it trained.
                    "run_train_seconds": run["train_seconds"],
                    "commit": run["commit"],
                }
            )
    return _csv(lines)


def methods_csv(found: Sequence[MethodRow]) -> str:
    """A row for each distillation method, over the seeds that all of them share.

    Args:
        found: Methods of the study, from `by_method`.

    Returns:
        CSV with a header; accuracies from 0 to 1, gains in %.
    """
    students = next((row.accuracies for row in found if row.accuracies), {})
    lines = []
    for row in found:
        line: dict[str, Any] = {"method": row.name, "trained_by": row.label}
        line["seeds"] = " ".join(map(str, row.seeds))
        for name in students:
            line |= _columns(f"{name}_accuracy", row.accuracies.get(name))
            line |= _gain(f"{name}_gain", row.gains.get(name))
        line |= _gain("mean_gain", row.gain)
        line |= _columns("teacher_accuracy", row.teacher)
        line |= _columns("step_time_ratio", row.step)
        lines.append({**line, "remark": row.remark})
    return _csv(lines)


def _gain(name: str, gain: Interval | None) -> dict[str, float | None]:
    return {
        f"{name}_percent": gain.mean if gain else None,
        f"{name}_low": gain.low if gain else None,
        f"{name}_high": gain.high if gain else None,
    }


def _columns(name: str, values: Spread | None) -> dict[str, float | None]:
    return {
        name: values.mean if values else None,
        f"{name}_deviation": values.deviation if values else None,
    }


def _csv(lines: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({k: round(v, 8) if isinstance(v, float) else v for k, v in line.items()})
    return text.getvalue()
