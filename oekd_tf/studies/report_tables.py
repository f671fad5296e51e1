"""Tables of a study's report: text by column, a row each."""

from collections.abc import Mapping, Sequence
from typing import Any

from oekd_tf.studies.ablations import Difference
from oekd_tf.studies.aggregate import Method, Row
from oekd_tf.studies.alternatives import Alternative
from oekd_tf.studies.by_method import MethodRow
from oekd_tf.studies.plan import MUTUAL, OFFLINE
from oekd_tf.studies.statistics import Interval, Spread


def student_rows(method: Method) -> list[dict[str, str]]:
    """The main table of a method.

    Args:
        method: A method other than the baselines.

    Returns:
        One row for each student: text by column.
    """
    return [
        {
            "student": row.name,
            "width": f"{row.width:g}",
            "parameters": f"{row.parameters:,}",
            "% compressed": "" if row.compressed is None else f"{row.compressed:.1f}",
            "MFLOPs": f"{row.flops / 1e6:.2f}",
            "int8 kB": f"{row.int8_bytes / 1000:.1f}" if row.int8_bytes else "",
            "together %": percent(row.accuracy),
            "alone %": percent(row.alone),
            "gain %": f"{row.gain.mean:+.2f}" if row.gain else "",
            "95 % interval": brackets(row.gain),
            "": row.gain.verdict if row.gain else "no baseline",
        }
        for row in method.rows
    ]


def method_rows(found: Sequence[MethodRow]) -> list[dict[str, str]]:
    """A row for each distillation method: all students, their gain, teacher and step."""
    students = next((row.accuracies for row in found if row.accuracies), {})
    rows = []
    for row in found:
        means = {name: row.accuracies.get(name) for name in students}
        rows.append(
            {
                "method": row.label,
                **{f"{n} %": f"{100 * mean.mean:.2f}" if mean else "" for n, mean in means.items()},
                "mean gain %": with_interval(row.gain),
                "teacher %": percent(row.teacher),
                "step": plus_minus(row.step, 2),
                **({"": row.remark} if any(one.remark for one in found) else {}),
            }
        )
    return rows


def overview_rows(trained: Sequence[Method], labels: Mapping[str, str]) -> list[dict[str, str]]:
    """A row for each method, in words where there are any; a column for each network."""
    networks = {row.network: f"{row.name}, gain %" for row in trained[0].rows}
    rows = []
    for method in trained:
        gains = {row.network: row.gain for row in method.rows}
        cells = {title: with_interval(gains.get(network)) for network, title in networks.items()}
        teacher = percent(method.teacher.accuracy) if method.teacher else ""
        label = labels.get(method.name, method.name)
        rows.append({"method": label, **cells, "teacher %": teacher})
    return rows


def alternative_rows(others: Sequence[Alternative]) -> list[dict[str, str]]:
    """A row for each way to train the smallest students."""
    rows = []
    for one in others:
        cells = {}
        for name, accuracy in one.accuracies.items():
            cells[f"{name} %"] = percent(accuracy)
            cells[f"ahead, {name}"] = with_interval(one.leads[name])
        rows.append(
            {
                "method": one.method,
                "trains": one.what,
                **cells,
                "seeds": str(max(a.count for a in one.accuracies.values() if a)),
                "seconds": plus_minus(one.seconds, 0),
                "models": str(one.models),
            }
        )
    return rows


def difference_rows(
    against: Sequence[Difference], labels: Mapping[str, str]
) -> list[dict[str, str]]:
    """A row for each ablation, in words where there are any, beside the study's own ensemble."""
    return [
        {
            "method": labels.get(one.method, one.method),
            **{name: with_interval(value) for name, value in one.by_student.items()},
            "mean": with_interval(one.mean),
            "mean, validation": with_interval(one.validation),
        }
        for one in against
    ]


def quality_rows(found: Sequence[Method]) -> list[dict[str, str]]:
    """Rows of students, grouped by network and named as in the first method, then of teachers."""
    names = {row.network: row.name for method in reversed(found) for row in method.rows}
    networks = dict.fromkeys(row.network for method in found for row in method.rows)
    uneven = is_uneven(found)
    rows = []
    for network in networks:
        for method in found:
            own = [row for row in method.rows if row.network == network]
            rows += [_quality(names[network], method, row, uneven) for row in own]
    return rows + [_quality("teacher", m, m.teacher, uneven) for m in found if m.teacher]


def is_uneven(found: Sequence[Method]) -> bool:
    """Whether balanced accuracy says something that accuracy does not."""
    every = [row for method in found for row in (*method.rows, method.teacher) if row]
    return any(one.balanced and abs(one.balanced.mean - one.accuracy.mean) > 1e-6 for one in every)


def _quality(name: str, method: Method, one: Any, uneven: bool) -> dict[str, str]:
    balanced = {}
    if uneven:
        gain = one.balanced_gain if isinstance(one, Row) else None
        balanced = {
            "balanced %": percent(one.balanced),
            "against alone, points": with_interval(gain),
        }
    return {
        "student": name,
        "method": method.name,
        "accuracy %": percent(one.accuracy),
        **balanced,
        "NLL": plus_minus(one.nll, 3),
        "ECE %": percent(one.ece),
        "agreement %": percent(one.agreement) if isinstance(one, Row) else "",
    }


def time_rows(found: Sequence[Method]) -> list[dict[str, str]]:
    """A row for each method: its training time and that of the baselines."""
    # Alternatives train other networks too; their times are in a table of their own.
    return [
        {
            "method": method.name,
            "seconds": plus_minus(method.seconds, 1),
            "baselines, seconds": plus_minus(method.alone_seconds, 1),
            "ratio": plus_minus(method.time_ratio, 3),
        }
        for method in found
        if method.name not in (OFFLINE, MUTUAL)
    ]


def percent(values: Spread | None) -> str:
    """Values from 0 to 1 as text in %."""
    if values is None:
        return ""
    deviation = None if values.deviation is None else 100 * values.deviation
    return plus_minus(Spread(100 * values.mean, deviation, values.count), 2)


def plus_minus(values: Spread | None, digits: int) -> str:
    """Mean and standard deviation as text; "" without values."""
    if values is None:
        return ""
    text = f"{values.mean:.{digits}f}"
    return text if values.deviation is None else f"{text} ± {values.deviation:.{digits}f}"


def with_interval(gain: Interval | None) -> str:
    """A mean with its confidence interval as text; "" without values."""
    return f"{gain.mean:+.2f} {brackets(gain)}".strip() if gain else ""


def brackets(gain: Interval | None) -> str:
    """A confidence interval as text; "" where there is none."""
    return f"[{gain.low:+.2f}, {gain.high:+.2f}]" if gain and gain.low is not None else ""
