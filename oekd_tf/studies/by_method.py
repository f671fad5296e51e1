"""Distillation methods beside the study's own, over the same seeds."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from oekd_tf.config.migration import migrate
from oekd_tf.core.records import Results, RunRecord
from oekd_tf.studies.plan import ALONE, ENSEMBLE, METHODS
from oekd_tf.studies.results import network_key
from oekd_tf.studies.statistics import Interval, Spread, interval, relative_gain, spread

# Runs of one method, by seed.
_BySeed = Mapping[int, RunRecord]


class MethodRow(NamedTuple):
    """A method by which the study trained its students.

    Attributes:
        name: Name in the study, "ensemble" for the study's own.
        label: The method in words, with its arguments that are not at their defaults.
        seeds: Seeds that all rows share, of which all figures are; empty for a method that has
            none of them.
        accuracies: Test accuracy by student, from 0 to 1; None for one that it did not train.
        gains: Relative gain over the same network alone, in %, by student; None where it was not
            trained alone.
        gain: Mean of the gains within a seed, of students that were trained alone in each of the
            seeds; None where there is none.
        teacher: Test accuracy of its teacher.
        step: Time of a training step, as a ratio to the study's own method in the same seed; None
            where one of them was not timed, or on another machine.
        remark: Seeds of the study that it lacks, and why; "" if there are none.
    """

    name: str
    label: str
    seeds: tuple[int, ...]
    accuracies: Mapping[str, Spread | None]
    gains: Mapping[str, Interval | None]
    gain: Interval | None
    teacher: Spread | None
    step: Spread | None
    remark: str


def by_method(results: Results) -> list[MethodRow]:
    """Compares the distillation methods of a study.

    Args:
        results: Content of the results file.

    Returns:
        The study's own method, then each other one in the order in which they were asked for,
        also if its runs failed; empty where there is no other.

    Example:
        >>> [row.label for row in by_method(results)]
        ['oekd (online ensemble distillation)', 'dml (deep mutual learning), temperature=3.0']
    """
    runs: dict[str, dict[int, RunRecord]] = {
        name: {}
        for name, overrides in results["methods"].items()
        if name == ENSEMBLE or (name not in METHODS and "method.name" in overrides)
    }
    for run in results["runs"]:
        if run["method"] in runs:
            runs[run["method"]][run["seed"]] = run
    own = runs.get(ENSEMBLE)
    if len(runs) < 2 or not own:
        return []
    shared = set(own)
    for found in runs.values():
        # One that has none of the seeds takes none from the others.
        shared = shared & set(found) or shared
    alone = {
        (network_key(student), run["seed"]): student["accuracy"]
        for run in results["runs"]
        if run["method"] == ALONE
        for student in run["students"]
    }
    every = {seed for found in runs.values() for seed in found}
    return [
        _row(
            name,
            _label(results, name, found),
            found,
            {seed: own[seed] for seed in sorted(shared) if seed in found},
            alone,
            _remark(results, name, found, every),
        )
        for name, found in runs.items()
    ]


def _row(
    name: str,
    label: str,
    found: _BySeed,
    own: _BySeed,
    alone: Mapping[tuple[str, int], float],
    remark: str,
) -> MethodRow:
    seeds = tuple(own)
    accuracies: dict[str, Spread | None] = {}
    gains: dict[str, Interval | None] = {}
    for student in own[seeds[0]]["students"] if seeds else ():
        by_seed = {
            seed: one
            for seed in seeds
            for one in found[seed]["students"]
            if (one["name"], one["width"]) == (student["name"], student["width"])
        }
        together = [one["accuracy"] for one in by_seed.values()]
        # Nothing is relative to 0.
        paired = [
            (one["accuracy"], baseline)
            for seed, one in by_seed.items()
            if (baseline := alone.get((network_key(one), seed)))
        ]
        accuracies[student["name"]] = spread(together) if together else None
        gains[student["name"]] = (
            relative_gain([one for one, _ in paired], [one for _, one in paired])
            if paired
            else None
        )
    whole = [gain.values for gain in gains.values() if gain and len(gain.values) == len(seeds)]
    teachers = [teacher["accuracy"] for seed in seeds if (teacher := found[seed]["teacher"])]
    ratios = [ratio for seed in seeds if (ratio := _ratio(found[seed], own[seed]))]
    return MethodRow(
        name,
        label,
        seeds,
        accuracies,
        gains,
        interval([sum(one) / len(one) for one in zip(*whole, strict=True)]) if whole else None,
        spread(teachers) if teachers else None,
        spread(ratios) if ratios else None,
        remark,
    )


def _ratio(run: RunRecord, own: RunRecord) -> float | None:
    """Time of a step as a ratio to the study's own method's; None where it says nothing."""
    if not (run["train_seconds"] and own["train_seconds"]):
        return None
    # Runs beside others have fewer cores.
    if (run.get("machine"), run["replicas"]) != (own.get("machine"), own["replicas"]):
        return None
    return (run["train_seconds"] / run["steps"]) / (own["train_seconds"] / own["steps"])


def _label(results: Results, name: str, found: _BySeed) -> str:
    overrides = results["methods"][name]
    others = [f"{path}={value!r}" for path, value in overrides.items() if path[:7] != "method."]
    known = [run["trained_by"] for run in found.values() if "trained_by" in run]
    if known:
        return ", ".join([known[-1], *others])
    method = overrides.get("method.name") or migrate(results["config"])["method"]["name"]
    arguments = [
        f"{path.removeprefix('method.arguments.')}={value!r}"
        for path, value in overrides.items()
        if path.startswith("method.arguments.")
    ]
    return ", ".join([method, *arguments, *others])


def _remark(results: Results, name: str, found: _BySeed, every: set[int]) -> str:
    """Seeds of the study that a method lacks, and why."""
    failed = set()
    for title in results.get("failed", {}):
        match = re.fullmatch(rf"seed (-?\d+), {re.escape(name)}", title)
        if match:
            failed.add(int(match[1]))
    missing = sorted(every - set(found) - failed)
    parts = [_seeds(sorted(failed), "failed"), _seeds(missing, "not trained")]
    return "; ".join(part for part in parts if part)


def _seeds(seeds: Sequence[int], what: str) -> str:
    if not seeds:
        return ""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))} {what}"
