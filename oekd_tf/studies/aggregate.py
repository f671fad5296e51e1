"""The runs of a results file, put together by method and student."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from oekd_tf.core.records import Results, RunRecord, Scores, StudentRecord
from oekd_tf.studies.plan import ALONE, ENSEMBLE
from oekd_tf.studies.results import network_key
from oekd_tf.studies.statistics import Interval, Spread, relative_gain, spread


class _Timed(StudentRecord):
    """A student with the seconds that its run took."""

    train_seconds: float | None


# Per seed, the students of one network that one method trained.
_BySeed = dict[int, _Timed]


class Row(NamedTuple):
    """One student under one method, over all seeds.

    Attributes:
        name: Of the student, in its method.
        network: `network_key` of it.
        width: Fraction of the channels.
        parameters: Trainable ones.
        flops: For one image.
        compressed: % of the parameters of the ensemble's first student that are gone, or of its
            method's; None where neither was trained.
        int8_bytes: Of its int8 file, if it was measured and can be made.
        accuracy: Of 1, like all that follow but `nll` and `gain`.
        alone: Of the same network trained alone, over the seeds that have both.
        gain: Relative to it; None without a baseline.
        nll: Negative log-likelihood, in nats.
        ece: Expected calibration error.
        agreement: With the ensemble teacher.
        reliability: (count, confidence, accuracy) of each bin, over all seeds.
    """

    name: str
    network: str
    width: float
    parameters: int
    flops: int
    compressed: float | None
    int8_bytes: int | None
    accuracy: Spread
    alone: Spread | None
    gain: Interval | None
    nll: Spread
    ece: Spread
    agreement: Spread | None
    reliability: tuple[tuple[int, float, float], ...]


class Teacher(NamedTuple):
    """An ensemble teacher over all seeds; attributes as of `Row`."""

    accuracy: Spread
    nll: Spread
    ece: Spread
    reliability: tuple[tuple[int, float, float], ...]


class Method(NamedTuple):
    """All that one method trained.

    Attributes:
        name: "ensemble", "alone" or an ablation's.
        overrides: Fields of the config that are other than the study's.
        seeds: It has runs of.
        rows: One a student.
        teacher: Of the ensemble, if there is one.
        seconds: Of training, a seed: all its runs together, over the seeds that have them all;
            None where none has, or none was timed.
        alone_seconds: Of all the same students alone, a seed, over the seeds that have both.
        time_ratio: Of the two, seed by seed; None where a student has no baseline.
    """

    name: str
    overrides: Mapping[str, Any]
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    teacher: Teacher | None
    seconds: Spread | None
    alone_seconds: Spread | None
    time_ratio: Spread | None


def methods(results: Results) -> list[Method]:
    """Puts a results file's runs together.

    Args:
        results: Its content.

    Returns:
        Methods that have runs, in the file's order.
    """
    runs: dict[str, list[RunRecord]] = {}
    for run in results["runs"]:
        runs.setdefault(run["method"], []).append(run)
    baselines = _by_network(runs.get(ALONE, []))
    full = _full_size(runs.get(ENSEMBLE, []))
    found = []
    for name, overrides in results["methods"].items():
        if name in runs:
            own_full = _full_size(runs[name]) or full
            found.append(
                _method(name, overrides, runs[name], baselines, own_full, results["int8_bytes"])
            )
    return found


def pooled(
    bins: Iterable[Sequence[Sequence[float]]],
) -> tuple[tuple[int, float, float], ...]:
    """Reliability of several classifiers taken as one: bins weighed by their images.

    Args:
        bins: Of each classifier, (count, confidence, accuracy) of each bin.

    Returns:
        The same of all.

    Example:
        >>> pooled([[(1, 0.5, 1.0)], [(3, 0.9, 1.0)]])
        ((4, 0.8, 1.0),)
    """
    merged = []
    for same in zip(*bins, strict=True):
        count = sum(one[0] for one in same)
        means = [sum(one[0] * one[i] for one in same) / count if count else 0.0 for i in (1, 2)]
        merged.append((count, *means))
    return tuple(merged)


def _method(
    name: str,
    overrides: Mapping[str, Any],
    runs: list[RunRecord],
    baselines: Mapping[str, _BySeed],
    full: int | None,
    int8_bytes: Mapping[str, int | None],
) -> Method:
    networks = _by_network(runs)
    # A student alone has nothing to be compared with but the others.
    own_baselines = {} if name == ALONE else baselines
    rows = [
        _row(network, students, own_baselines.get(network, {}), full, int8_bytes.get(network))
        for network, students in networks.items()
    ]
    teachers = [run["teacher"] for run in runs if run["teacher"]]
    seconds = _seconds(runs, networks)
    alone = _seconds_alone(networks, own_baselines, seconds)
    return Method(
        name,
        overrides,
        tuple(sorted({run["seed"] for run in runs})),
        tuple(sorted(rows, key=lambda row: (-row.width, row.name))),
        _teacher(teachers) if teachers else None,
        spread(list(seconds.values())) if seconds else None,
        spread(list(alone.values())) if alone else None,
        spread([seconds[seed] / alone[seed] for seed in alone]) if alone else None,
    )


def _by_network(runs: Iterable[RunRecord]) -> dict[str, _BySeed]:
    found: dict[str, _BySeed] = {}
    for run in runs:
        for student in run["students"]:
            entry: _Timed = {**student, "train_seconds": run["train_seconds"]}
            found.setdefault(network_key(student), {})[run["seed"]] = entry
    return found


def _full_size(runs: Iterable[RunRecord]) -> int | None:
    """Parameters of student 1, which of baselines may not be among those that were asked for."""
    students = (student for run in runs for student in run["students"])
    return next((s["parameters"] for s in students if s["name"] == "student_1"), None)


def _seconds(runs: Iterable[RunRecord], networks: Mapping[str, _BySeed]) -> dict[int, float]:
    """By seed, the time of all runs; only seeds in which each network was trained and timed."""
    by_seed: dict[int, list[float | None]] = {}
    for run in runs:
        by_seed.setdefault(run["seed"], []).append(run["train_seconds"])
    totals = {
        seed: sum_of_all(values)
        for seed, values in sorted(by_seed.items())
        if all(seed in students for students in networks.values())
    }
    return {seed: total for seed, total in totals.items() if total is not None}


def _seconds_alone(
    networks: Mapping[str, _BySeed],
    baselines: Mapping[str, _BySeed],
    seconds: Mapping[int, float],
) -> dict[int, float]:
    """By seed, the time of all students alone; only seeds in which each has its timed baseline."""
    totals = {}
    for seed in seconds:
        alone = [baselines.get(network, {}).get(seed) for network in networks]
        totals[seed] = sum_of_all(one["train_seconds"] if one else None for one in alone)
    return {seed: total for seed, total in totals.items() if total is not None}


def sum_of_all(values: Iterable[float | None]) -> float | None:
    """The sum; None where a value is missing."""
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) if len(known) == len(found) else None


def _row(
    network: str,
    students: _BySeed,
    baselines: _BySeed,
    full: int | None,
    int8_bytes: int | None,
) -> Row:
    seeds = sorted(students)
    first = students[seeds[0]]
    own = [students[seed] for seed in seeds]
    agreements = [one["agreement"] for one in own if "agreement" in one]
    paired = [seed for seed in seeds if seed in baselines]
    together = [students[seed]["accuracy"] for seed in paired]
    alone = [baselines[seed]["accuracy"] for seed in paired]
    return Row(
        first["name"],
        network,
        first["width"],
        first["parameters"],
        first["flops"],
        100 * (1 - first["parameters"] / full) if full else None,
        int8_bytes,
        spread([one["accuracy"] for one in own]),
        spread(alone) if alone else None,
        relative_gain(together, alone) if alone and min(alone) > 0 else None,
        spread([one["nll"] for one in own]),
        spread([one["ece"] for one in own]),
        spread(agreements) if agreements else None,
        pooled(one["reliability"] for one in own),
    )


def _teacher(teachers: list[Scores]) -> Teacher:
    return Teacher(
        spread([teacher["accuracy"] for teacher in teachers]),
        spread([teacher["nll"] for teacher in teachers]),
        spread([teacher["ece"] for teacher in teachers]),
        pooled(teacher["reliability"] for teacher in teachers),
    )


def mean_curves(
    runs: Iterable[RunRecord], column: Callable[[RunRecord], str]
) -> tuple[list[float], list[Spread]]:
    """A column of the training curves, over seeds.

    Args:
        runs: Of a results file.
        column: Which one of a run; runs that lack it are left out.

    Returns:
        Epochs that all have, and the values at each.
    """
    curves = [
        dict(zip(run["curves"]["epoch"], run["curves"][column(run)], strict=True))
        for run in runs
        if column(run) in run["curves"]
    ]
    if not curves:
        return [], []
    epochs = sorted(set.intersection(*(set(curve) for curve in curves)))
    return epochs, [spread([curve[epoch] for curve in curves]) for epoch in epochs]
