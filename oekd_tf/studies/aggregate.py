"""Metrics of each student under each method, aggregated over seeds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from oekd_tf.core.records import Results, RunRecord, Scores, StudentRecord
from oekd_tf.studies.plan import ALONE, ENSEMBLE
from oekd_tf.studies.results import network_key
from oekd_tf.studies.statistics import Interval, Spread, interval, relative_gain, spread


class _Timed(StudentRecord):
    """A student with the training time of its run."""

    train_seconds: float | None


# Students of one network and one method, by seed.
_BySeed = dict[int, _Timed]
# Facts that studies of before lack.
_Fact = Literal["balanced_accuracy", "worst_recall"]


class Row(NamedTuple):
    """One student under one method, over all seeds.

    Attributes:
        name: Name of the student in its method.
        network: `network_key` of the student.
        width: Fraction of the full number of channels.
        parameters: Number of trainable parameters.
        flops: Floating-point operations for one image.
        compressed: Reduction of parameters in %, relative to the ensemble's first student, or
            else its method's; None where neither was trained.
        int8_bytes: Size of the student's int8 file; None if it was not measured or cannot be made.
        accuracy: Test accuracy, from 0 to 1.
        alone: Test accuracy of the baseline, the same network trained alone, over the seeds that
            have both.
        gain: Gain relative to the baseline, in %; None without a baseline.
        nll: Negative log-likelihood, in nats.
        ece: Expected calibration error, from 0 to 1.
        agreement: Share of test images with the ensemble teacher's top class.
        reliability: (count, confidence, accuracy) of each bin, over all seeds.
        balanced: Balanced accuracy, from 0 to 1; None for a study that did not measure it.
        balanced_gain: Points of balanced accuracy above the baseline; None without one.
        worst: Lowest recall of a class, from 0 to 1; None for a study that did not measure it.
        worst_gain: Points of that above the baseline; None without one.
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
    balanced: Spread | None = None
    balanced_gain: Interval | None = None
    worst: Spread | None = None
    worst_gain: Interval | None = None


class Teacher(NamedTuple):
    """An ensemble teacher over all seeds; its attributes have the meaning of those of `Row`."""

    accuracy: Spread
    nll: Spread
    ece: Spread
    reliability: tuple[tuple[int, float, float], ...]
    balanced: Spread | None = None


class Method(NamedTuple):
    """All students of one method.

    Attributes:
        name: Name of the method or ablation, for instance "ensemble" or "alone".
        overrides: Values of the config's fields that differ from the study's, by dotted path.
        seeds: Seeds of its runs.
        rows: One row for each student.
        teacher: The ensemble teacher; None for a method without one.
        seconds: Training time of all its runs of a seed, over the seeds that are complete; None
            where none is complete and timed.
        alone_seconds: Training time of the baselines of all its students, over the same seeds.
        time_ratio: Ratio of the two, seed by seed; None where a student has no baseline.
        trained_by: The method in words; "" where its runs do not say.
        teacher_title: What the teacher is.
    """

    name: str
    overrides: Mapping[str, Any]
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    teacher: Teacher | None
    seconds: Spread | None
    alone_seconds: Spread | None
    time_ratio: Spread | None
    trained_by: str = ""
    teacher_title: str = "Ensemble teacher (all of them together)"


def methods(results: Results) -> list[Method]:
    """Aggregates the runs of a study by method and student.

    Args:
        results: Content of the results file.

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
    """Pools the reliability bins of several classifiers, weighted by their numbers of images.

    Args:
        bins: For each classifier (count, confidence, accuracy) of each bin.

    Returns:
        (count, confidence, accuracy) of each pooled bin.

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
    # A baseline has no baseline of its own.
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
        runs[-1].get("trained_by", ""),
        runs[-1].get("teacher_title", "Ensemble teacher (all of them together)"),
    )


def _by_network(runs: Iterable[RunRecord]) -> dict[str, _BySeed]:
    found: dict[str, _BySeed] = {}
    for run in runs:
        for student in run["students"]:
            entry: _Timed = {**student, "train_seconds": run["train_seconds"]}
            found.setdefault(network_key(student), {})[run["seed"]] = entry
    return found


def _full_size(runs: Iterable[RunRecord]) -> int | None:
    """Parameters of student 1; None if no run trained it, as among some baselines only."""
    students = (student for run in runs for student in run["students"])
    return next((s["parameters"] for s in students if s["name"] == "student_1"), None)


def _seconds(runs: Iterable[RunRecord], networks: Mapping[str, _BySeed]) -> dict[int, float]:
    """Training time of all runs by seed, for seeds in which each network was trained and timed."""
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
    """Training time of all baselines by seed, for seeds in which each student has a timed one."""
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
    pairs = [(students[seed], baselines[seed]) for seed in paired]
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
        _spread_of("balanced_accuracy", own),
        _points("balanced_accuracy", pairs),
        _spread_of("worst_recall", own),
        _points("worst_recall", pairs),
    )


def _spread_of(fact: _Fact, scores: Sequence[Scores]) -> Spread | None:
    """Of a fact that older studies lack."""
    found = [one[fact] for one in scores if fact in one]
    return spread(found) if found else None


def _points(fact: _Fact, pairs: Sequence[tuple[Scores, Scores]]) -> Interval | None:
    """Points of such a fact together above alone."""
    gains = [
        100 * (one[fact] - other[fact]) for one, other in pairs if fact in one and fact in other
    ]
    return interval(gains) if gains else None


def _teacher(teachers: list[Scores]) -> Teacher:
    return Teacher(
        spread([teacher["accuracy"] for teacher in teachers]),
        spread([teacher["nll"] for teacher in teachers]),
        spread([teacher["ece"] for teacher in teachers]),
        pooled(teacher["reliability"] for teacher in teachers),
        _spread_of("balanced_accuracy", teachers),
    )


def mean_curves(
    runs: Iterable[RunRecord], column: Callable[[RunRecord], str]
) -> tuple[list[float], list[Spread]]:
    """A column of the training curves, averaged over seeds.

    Args:
        runs: Runs of the results file.
        column: Function from a run to the name of its column; runs without it are left out.

    Returns:
        Epochs that all runs have, and the values at each.
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
