"""Accuracy on corrupted test images."""

from collections.abc import Sequence
from typing import Any

from oekd_tf.studies.metrics import accuracy
from oekd_tf.studies.robustness.corruptions import corrupt, names
from oekd_tf.studies.robustness.lines import Line, draw_lines
from oekd_tf.studies.robustness.material import Column, Material, Scores, Settings, Step, mean_of

ORDER = 1


def steps(material: Material) -> list[Step]:
    """A step for each corruption and severity: `fog 3` and so on, from 0 to 1."""

    def step(name: str, severity: int) -> Step:
        def measure() -> dict[str, dict[str, float]]:
            images = corrupt(material.images, name, severity, material.settings.seed)
            return {
                key: {f"{name} {severity}": accuracy(logits, material.labels)}
                for key, logits in material.logits(images).items()
            }

        return Step(f"{name} {severity}", measure)

    return [
        step(name, severity)
        for name in names(material.images.shape[-1])
        for severity in map(int, material.settings.severities)
    ]


def summary(settings: Settings) -> list[Column]:
    """Mean accuracy, and the share of the accuracy on test images that is kept."""
    mean = mean_of("corruption", "", "corrupted %")

    def kept(scores: Scores) -> float | None:
        corrupted, test = mean.value(scores), scores.get("accuracy", {}).get("test")
        return corrupted / test if corrupted is not None and test else None

    return [mean, Column("of test %", kept)]


def details(settings: Settings, channels: int) -> list[Column]:
    return [
        mean_of("corruption", f"{name} ", name.replace("_", " ") + " %") for name in names(channels)
    ]


def draw(axes: Any, networks: Sequence[Line], settings: Settings) -> None:
    """Mean accuracy by severity, 0 for images as they are."""

    def values(scores: Scores) -> list[tuple[float, float]]:
        own = scores.get("corruption", {})
        test = scores.get("accuracy", {}).get("test")
        found: list[tuple[float, float]] = [] if test is None else [(0.0, test)]
        for severity in map(int, settings.severities):
            accuracies = [own[name] for name in own if name.endswith(f" {severity}")]
            found.append((severity, sum(accuracies) / len(accuracies)))
        return [(x, 100 * y) for x, y in found]

    draw_lines(axes, networks, values)
    axes.set(title="corruptions", xlabel="severity", ylabel="accuracy, %")
