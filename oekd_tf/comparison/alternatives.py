"""The ensemble beside what one would do otherwise to get the same small students."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from oekd_tf.comparison.aggregate import Method
from oekd_tf.comparison.plan import ALONE, ENSEMBLE, MUTUAL, OFFLINE
from oekd_tf.comparison.results import find_run
from oekd_tf.comparison.statistics import Spread, spread

_SMALLEST = 2


class Alternative(NamedTuple):
    """One way to train the smallest students.

    Attributes:
        method: Its name.
        what: It trains, in words.
        accuracies: Of the students, widest first; None where a seed is missing.
        seconds: Of all training that the way needs, a seed; a teacher's too.
        models: Networks of different size that come out of it.
    """

    method: str
    what: str
    accuracies: tuple[Spread | None, ...]
    seconds: Spread | None
    models: int


def alternatives(results: Mapping[str, Any], found: Sequence[Method]) -> list[Alternative]:
    """Compares the ways to train the smallest two students.

    Args:
        results: A results file's content.
        found: Its methods.

    Returns:
        The ensemble, plain training, and those of offline distillation and mutual learning that
        the study has; empty if it has neither of these two.
    """
    by_name = {method.name: method for method in found}
    if ENSEMBLE not in by_name or not {OFFLINE, MUTUAL} & by_name.keys():
        return []
    smallest = by_name[ENSEMBLE].rows[-_SMALLEST:]
    numbers = [int(row.name.removeprefix("student_")) for row in smallest]
    seeds = by_name[ENSEMBLE].seeds
    whole = len(by_name[ENSEMBLE].rows)
    # The runs that each way needs for a seed, and the networks that it leaves.
    ways = {
        ENSEMBLE: ("all students at once", [(ENSEMBLE, 0)], whole),
        ALONE: ("each student from the labels", [(ALONE, n) for n in numbers], len(numbers)),
        OFFLINE: (
            "student 1 alone, then each student from it",
            [(ALONE, 1), *((OFFLINE, n) for n in numbers)],
            1 + len(numbers),
        ),
        MUTUAL: (
            "each student in a pair with a student 1",
            [(MUTUAL, n) for n in numbers],
            1 + len(numbers),
        ),
    }
    answer = []
    for name, (what, runs, models) in ways.items():
        if name not in by_name:
            continue
        rows = {row.network: row for row in by_name[name].rows}
        accuracies = [rows[r.network].accuracy if r.network in rows else None for r in smallest]
        seconds = [_seconds(results, runs, seed) for seed in seeds]
        seconds = [value for value in seconds if value is not None]
        answer.append(
            Alternative(name, what, tuple(accuracies), spread(seconds) if seconds else None, models)
        )
    return answer


def _seconds(
    results: Mapping[str, Any], runs: Sequence[tuple[str, int]], seed: int
) -> float | None:
    """Of these runs together; None where one of them is missing."""
    records = [find_run(results, (method, seed, student)) for method, student in runs]
    return None if None in records else sum(record["train_seconds"] for record in records)
