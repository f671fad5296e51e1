"""Ablations beside the study's own ensemble, student by student."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from oekd_tf.comparison.plan import ENSEMBLE, METHODS
from oekd_tf.comparison.results import network_key
from oekd_tf.comparison.statistics import Interval, interval


class Difference(NamedTuple):
    """By how many points of accuracy an ablation is above the ensemble.

    Attributes:
        method: The ablation's name.
        by_student: By the student's name in the ensemble; None where the ablation lacks it.
        mean: Of the students that both have, averaged within a seed.
    """

    method: str
    by_student: Mapping[str, Interval | None]
    mean: Interval


def differences(results: Mapping[str, Any]) -> list[Difference]:
    """Compares every ablation with the ensemble, over the seeds that have both.

    Args:
        results: A results file's content.

    Returns:
        One a method that is an ablation and shares a network and a seed with the ensemble.
    """
    runs = {(run["method"], run["seed"]): run for run in results["runs"] if not run["student"]}
    found = []
    for method in results["methods"]:
        seeds = [seed for name, seed in runs if name == method and (ENSEMBLE, seed) in runs]
        if method in METHODS or not seeds:
            continue
        points = [_points(runs[method, seed], runs[ENSEMBLE, seed]) for seed in sorted(seeds)]
        names = [student["name"] for student in runs[ENSEMBLE, seeds[0]]["students"]]
        by_student = {n: _interval([one[n] for one in points if n in one]) for n in names}
        mean = _interval([sum(one.values()) / len(one) for one in points if one])
        if mean:
            found.append(Difference(method, by_student, mean))
    return found


def _points(run: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, float]:
    own = {network_key(student): student["accuracy"] for student in run["students"]}
    return {
        student["name"]: 100 * (own[network_key(student)] - student["accuracy"])
        for student in reference["students"]
        if network_key(student) in own
    }


def _interval(values: Sequence[float]) -> Interval | None:
    return interval(values) if values else None
