"""Whether a network looks where student 1 looks, by integrated gradients."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from oekd_tf.models.attribution.agreement import rank_correlation
from oekd_tf.models.attribution.gradients import integrated_gradients, saliency
from oekd_tf.models.attribution.picture import draw_maps
from oekd_tf.studies.robustness.lines import Line, draw_bars
from oekd_tf.studies.robustness.material import Column, Material, Scores, Settings, Step
from oekd_tf.studies.robustness.subjects import Subject, with_gradients

ORDER = 6
# Test images, and gradients of each.
_IMAGES, _STEPS = 100, 16
_SHOWN = 6
PICTURE = "maps.png"


def steps(material: Material) -> list[Step]:
    """One step: `student_1 together` and so on, mean rank correlations from -1 to 1.

    Each is of a network's maps of integrated gradients for the label with those of a student 1,
    trained together or alone, over test images. The step draws some of them, too.
    """
    networks = with_gradients(material.subjects)
    images, labels = material.images[:_IMAGES], material.labels[:_IMAGES]

    def title(subject: Subject) -> str:
        return f"{subject.student} {subject.trained}"

    def measure() -> dict[str, dict[str, float]]:
        maps = {
            title(one): saliency(integrated_gradients(one.model, images, labels, _STEPS))
            for one in networks
        }
        firsts = [title(one) for one in networks if one.student == networks[0].student]
        shown = images[:_SHOWN]
        draw_maps(material.folder / PICTURE, shown, {n: m[:_SHOWN] for n, m in maps.items()})
        return {
            one.key: {
                first: float(np.mean(rank_correlation(maps[title(one)], maps[first])))
                for first in firsts
                if first != title(one)
            }
            for one in networks
        }

    return [Step("integrated gradients", measure)]


def _with(first: str) -> Column:
    return Column(
        f"looks as {first}", lambda scores: scores.get("attribution", {}).get(first), 3
    )  # fmt: skip


def summary(settings: Settings) -> list[Column]:
    return []


def details(settings: Settings, channels: int) -> list[Column]:
    return [_with("student_1 together"), _with("student_1 alone")]


def draw(axes: Any, networks: Sequence[Line], settings: Settings) -> None:
    """Rank correlation with the pseudo teacher's maps."""

    def value(scores: Scores) -> float | None:
        return scores.get("attribution", {}).get("student_1 together")

    draw_bars(axes, networks, value)
    axes.set(title="looks where student 1 looks", ylabel="rank correlation")
