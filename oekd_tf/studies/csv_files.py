"""Metrics of a study as CSV, by student and by run."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from oekd_tf.core.records import RunRecord
from oekd_tf.studies.aggregate import Method, Row
from oekd_tf.studies.statistics import Spread


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
        "gain_percent": gain.mean if gain else None,
        "gain_low": gain.low if gain else None,
        "gain_high": gain.high if gain else None,
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
