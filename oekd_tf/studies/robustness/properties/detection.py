"""Whether a network is less sure of images that are of none of its classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from oekd_tf.core.text import in_picture
from oekd_tf.studies.robustness.lines import Line, draw_bars
from oekd_tf.studies.robustness.material import Column, Material, Scores, Settings, Step, percent
from oekd_tf.studies.robustness.out_of_distribution import (
    auroc,
    negative_energy,
    phase_noise,
    top_probability,
)

ORDER = 5
NOISE = "noise"


def steps(material: Material) -> list[Step]:
    """A step for noise and for each other data set.

    `noise: probability` is the area under the ROC curve, from 0 to 1, of the top class's
    probability, `noise: energy` that of the energy.
    """

    def step(name: str, images: np.ndarray) -> Step:
        def measure() -> dict[str, dict[str, float]]:
            found = {}
            for key, outside in material.logits(images).items():
                inside = material.clean[key]
                found[key] = {
                    f"{name}: probability": auroc(
                        top_probability(inside), top_probability(outside)
                    ),
                    f"{name}: energy": auroc(negative_energy(inside), negative_energy(outside)),
                }
            return found

        return Step(name, measure)

    noise = phase_noise(material.images, material.settings.seed)
    return [step(name, images) for name, images in {NOISE: noise, **material.others}.items()]


def summary(settings: Settings) -> list[Column]:
    """Of the other data set, or else of noise."""
    return [percent("detection", f"{settings.other or NOISE}: probability", "AUROC %")]


def details(settings: Settings, channels: int) -> list[Column]:
    return [
        percent("detection", f"{name}: {score}", f"{name}, {score} %")
        for name in filter(None, (NOISE, settings.other))
        for score in ("probability", "energy")
    ]


def draw(axes: Any, networks: Sequence[Line], settings: Settings) -> None:
    """Area under the ROC curve of the top probability."""
    name = settings.other or NOISE

    def value(scores: Scores) -> float:
        return 100 * scores["detection"][f"{name}: probability"]

    draw_bars(axes, networks, value)
    axes.axhline(50, color="#8b949e", linestyle=":")
    axes.set(title=f"told from {in_picture(name)}", ylabel="AUROC, %")
