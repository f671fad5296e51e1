"""The ensemble against baselines, offline distillation and mutual learning."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from oekd_tf.core.records import Results
from oekd_tf.studies.aggregate import Method, sum_of_all
from oekd_tf.studies.plan import ALONE, ENSEMBLE, METHODS, MUTUAL, OFFLINE
from oekd_tf.studies.results import find_run
from oekd_tf.studies.statistics import Interval, Spread, interval, spread

_SMALLEST = 2

# Method, and number of the student.
_Key = tuple[str, int]


class Alternative(NamedTuple):
    """One way to train the smallest students.

    Attributes:
        method: Name of the method.
        what: Description of what is trained.
        accuracies: Test accuracy by student, over the seeds in which all methods trained it; None
            where this one did not.
        leads: Difference of the ensemble's accuracy to this one's by student, in points, paired
            by seed; None for the ensemble itself and where this method did not train the student.
        seconds: Training time for its students in a seed, that of a teacher included.
        models: Number of networks of different size that are trained.
    """

    method: str
    what: str
    accuracies: Mapping[str, Spread | None]
    leads: Mapping[str, Interval | None]
    seconds: Spread | None
    models: int


def alternatives(results: Results, found: Sequence[Method]) -> list[Alternative]:
    """Compares the methods for the smallest two students.

    Args:
        results: Content of the results file.
        found: Methods of the study, from `aggregate.methods`.

    Returns:
        The ensemble, the baselines, and offline distillation and mutual learning where the study
        has them, for the smallest two students that either of these trained; empty if there are
        none.
    """
    others = [run for run in results["runs"] if run["method"] in (OFFLINE, MUTUAL)]
    numbers = sorted({run["student"] for run in others})[-_SMALLEST:]
    by_name = {method.name: method for method in found}
    if ENSEMBLE not in by_name or not numbers:
        return []
    names = [name for name in METHODS if name in by_name]
    # For each student the same seeds of all methods.
    tables = {n: {name: _accuracies(results, name, n) for name in names} for n in numbers}
    seeds = {
        n: sorted(set.intersection(*(set(table) for table in tables[n].values() if table)))
        for n in numbers
    }
    answer = []
    for name in names:
        own = [n for n in numbers if tables[n][name]]
        if not own:
            continue
        accuracies: dict[str, Spread | None] = {}
        leads: dict[str, Interval | None] = {}
        for n in numbers:
            values = [tables[n][name][seed] for seed in seeds[n]] if n in own else []
            reference = [tables[n][ENSEMBLE][seed] for seed in seeds[n]]
            accuracies[f"student_{n}"] = spread(values) if values else None
            points = [100 * (a - b) for a, b in zip(reference, values, strict=False)]
            leads[f"student_{n}"] = interval(points) if values and name != ENSEMBLE else None
        runs, what, models = _way(name, own, len(by_name[ENSEMBLE].rows))
        totals = [_seconds(results, runs, seed) for seed in by_name[ENSEMBLE].seeds]
        seconds = [total for total in totals if total is not None]
        mean = spread(seconds) if seconds else None
        answer.append(Alternative(name, what, accuracies, leads, mean, models))
    return answer


def _way(name: str, numbers: Sequence[int], students: int) -> tuple[list[_Key], str, int]:
    """The runs that a method needs for a seed, in words too, and the number of its networks."""
    each = [(name, number) for number in numbers]
    return {
        ENSEMBLE: ([(ENSEMBLE, 0)], "all students at once", students),
        ALONE: (each, "each student from the labels", len(numbers)),
        OFFLINE: (
            [(ALONE, 1), *each],
            "student 1 alone, then each student from it",
            1 + len(numbers),
        ),
        MUTUAL: (each, "each student in a pair with a student 1", 1 + len(numbers)),
    }[name]


def _accuracies(results: Results, method: str, number: int) -> dict[int, float]:
    """Test accuracies of one student under one method, by seed."""
    found = {}
    for run in results["runs"]:
        if run["method"] == method and run["student"] in (0, number):
            for student in run["students"]:
                if student["name"] == f"student_{number}":
                    found[run["seed"]] = student["accuracy"]
    return found


def _seconds(results: Results, runs: Sequence[_Key], seed: int) -> float | None:
    """Training time of these runs together; None where one is missing or was not timed."""
    records = [find_run(results, (method, seed, student)) for method, student in runs]
    return sum_of_all(record["train_seconds"] if record else None for record in records)
