"""Accuracy after pruning by magnitude, without further training."""

from collections.abc import Sequence
from typing import Any

from oekd_tf.studies.metrics import accuracy
from oekd_tf.studies.robustness.lines import Line, draw_lines
from oekd_tf.studies.robustness.material import Column, Material, Scores, Settings, Step, percent
from oekd_tf.studies.robustness.pruning import pruned_weights
from oekd_tf.studies.robustness.subjects import Subject, with_gradients

ORDER = 3


def steps(material: Material) -> list[Step]:
    """A step for each Keras network: `80 %` and so on, from 0 to 1."""

    def step(subject: Subject) -> Step:
        def measure() -> dict[str, dict[str, float]]:
            trained, found = subject.model.get_weights(), {}
            try:
                for share in material.settings.sparsities:
                    subject.model.set_weights(pruned_weights(subject.model, share))
                    logits = subject.logits(material.images)
                    found[f"{100 * share:g} %"] = accuracy(logits, material.labels)
                    subject.model.set_weights(trained)
            finally:
                subject.model.set_weights(trained)
            return {subject.key: found}

        return Step(f"{subject.student} {subject.trained}", measure)

    return [step(subject) for subject in with_gradients(material.subjects)]


def summary(settings: Settings) -> list[Column]:
    """The middle one of the shares."""
    share = f"{100 * sorted(settings.sparsities)[len(settings.sparsities) // 2]:g} %"
    return [percent("pruning", share, f"pruned {share}")]


def details(settings: Settings, channels: int) -> list[Column]:
    return [
        percent("pruning", f"{100 * share:g} %", f"without {100 * share:g} %")
        for share in settings.sparsities
    ]


def draw(axes: Any, networks: Sequence[Line], settings: Settings) -> None:
    """Accuracy by the share of weights that are zero."""

    def values(scores: Scores) -> list[tuple[float, float]]:
        found = [(0.0, scores["accuracy"]["test"])] if "accuracy" in scores else []
        found += [(share, scores["pruning"][f"{100 * share:g} %"]) for share in settings.sparsities]
        return [(100 * x, 100 * y) for x, y in found]

    draw_lines(axes, networks, values)
    axes.set(title="pruning", xlabel="weights that are zero, %", ylabel="accuracy, %")
