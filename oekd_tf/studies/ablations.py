"""Ablations against the study's own ensemble, student by student."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from oekd_tf.core.records import Results, RunRecord
from oekd_tf.studies.plan import ENSEMBLE, METHODS
from oekd_tf.studies.results import network_key
from oekd_tf.studies.statistics import Interval, interval


class Difference(NamedTuple):
    """Difference in accuracy between an ablation and the ensemble, in points.

    Attributes:
        method: Name of the ablation.
        by_student: Difference of each student, by its name in the ensemble; None where the
            ablation lacks it.
        mean: Mean difference over the students that both have, averaged within a seed.
        validation: Mean difference on the validation split after the last epoch, for model
            selection; None without a validation split.
    """

    method: str
    by_student: Mapping[str, Interval | None]
    mean: Interval
    validation: Interval | None


def differences(results: Results) -> list[Difference]:
    """Compares every ablation with the ensemble, over the seeds that have both.

    Args:
        results: Content of the results file.

    Returns:
        One difference for each ablation that shares a network and a seed with the ensemble.
    """
    runs = {(run["method"], run["seed"]): run for run in results["runs"] if not run["student"]}
    found = []
    for method in results["methods"]:
        seeds = [seed for name, seed in runs if name == method and (ENSEMBLE, seed) in runs]
        if method in METHODS or not seeds:
            continue
        pairs = [(runs[method, seed], runs[ENSEMBLE, seed]) for seed in sorted(seeds)]
        points = [
            _points(_test_accuracies(run), _test_accuracies(reference)) for run, reference in pairs
        ]
        validated = [
            _points(_validation_accuracies(run), _validation_accuracies(reference))
            for run, reference in pairs
        ]
        names = [student["name"] for student in runs[ENSEMBLE, seeds[0]]["students"]]
        by_student = {n: _interval([one[n] for one in points if n in one]) for n in names}
        if mean := _mean(points):
            found.append(Difference(method, by_student, mean, _mean(validated)))
    return found


# Name and accuracy of a run's students, by network.
_Accuracies = dict[str, tuple[str, float]]


def _test_accuracies(run: RunRecord) -> _Accuracies:
    return {network_key(s): (s["name"], s["accuracy"]) for s in run["students"]}


def _validation_accuracies(run: RunRecord) -> _Accuracies:
    columns = {s["name"]: f"val_{s['name']}_accuracy" for s in run["students"]}
    return {
        network_key(s): (s["name"], run["curves"][columns[s["name"]]][-1])
        for s in run["students"]
        if columns[s["name"]] in run["curves"]
    }


def _points(own: _Accuracies, reference: _Accuracies) -> dict[str, float]:
    return {
        name: 100 * (own[network][1] - accuracy)
        for network, (name, accuracy) in reference.items()
        if network in own
    }


def _mean(points: Sequence[Mapping[str, float]]) -> Interval | None:
    return _interval([sum(one.values()) / len(one) for one in points if one])


def _interval(values: Sequence[float]) -> Interval | None:
    return interval(values) if values else None
