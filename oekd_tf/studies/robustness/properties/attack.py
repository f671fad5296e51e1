"""Accuracy on adversarial examples: of a network's own, and of those made on student 1."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from oekd_tf.studies.metrics import accuracy
from oekd_tf.studies.robustness.attacks import fgsm, pgd
from oekd_tf.studies.robustness.lines import Line, draw_lines
from oekd_tf.studies.robustness.material import Column, Material, Scores, Settings, Step, percent
from oekd_tf.studies.robustness.subjects import Subject, with_gradients

ORDER = 2


def steps(material: Material) -> list[Step]:
    """A step for each network and size of change.

    `fgsm 8` and `pgd 8` are of examples that are made on the network itself, a file's on its Keras
    network; `transfer 8` of those that PGD makes on student 1, of every other network. Accuracies
    are from 0 to 1, of examples with whole pixels, as pictures have them.
    """
    count = material.settings.attack_images
    images, labels = material.images[:count], material.labels[:count]
    settings = material.settings
    networks = with_gradients(material.subjects)

    def tested(subject: Subject, examples: np.ndarray) -> float:
        # Within the range still: epsilon is rounded down there.
        return accuracy(subject.logits(examples), labels)

    def step(source: Subject, epsilon: float) -> Step:
        size = f"{epsilon:g}"
        own = [
            subject
            for subject in material.subjects
            if (subject.student, subject.trained) == (source.student, source.trained)
        ]
        others = [
            subject for subject in material.subjects if source is networks[0] and subject not in own
        ]

        def measure() -> dict[str, dict[str, float]]:
            quick = whole(fgsm(source.model, images, labels, epsilon), images, epsilon)
            strong = pgd(source.model, images, labels, epsilon, seed=settings.seed)
            strong = whole(strong, images, epsilon)
            found = {
                subject.key: {
                    f"fgsm {size}": tested(subject, quick),
                    f"pgd {size}": tested(subject, strong),
                }
                for subject in own
            }
            return found | {
                subject.key: {f"transfer {size}": tested(subject, strong)} for subject in others
            }

        return Step(f"{source.student} {source.trained}, {size} of 255", measure)

    return [step(source, epsilon) for source in networks for epsilon in settings.epsilons]


def whole(examples: np.ndarray, images: np.ndarray, epsilon: float) -> np.ndarray:
    """Examples as pictures, in whole pixels that are no further than before.

    Args:
        examples: Changed images.
        images: The images, uint8.
        epsilon: Largest change of a pixel.

    Returns:
        Pictures, uint8.
    """
    low, high = images - np.floor(epsilon), images + np.floor(epsilon)
    return np.clip(np.clip(np.rint(examples), low, high), 0, 255).astype(np.uint8)


def summary(settings: Settings) -> list[Column]:
    """PGD of the least size, and transfer of the largest."""
    small, large = f"{min(settings.epsilons):g}", f"{max(settings.epsilons):g}"
    return [
        percent("attack", f"pgd {small}", f"PGD {small} %"),
        percent("attack", f"transfer {large}", f"transfer {large} %"),
    ]


def details(settings: Settings, channels: int) -> list[Column]:
    return [
        percent("attack", f"{attack} {epsilon:g}", f"{title} {epsilon:g} %")
        for attack, title in (("fgsm", "FGSM"), ("pgd", "PGD"), ("transfer", "transfer"))
        for epsilon in settings.epsilons
    ]


def draw(axes: Any, networks: Sequence[Line], settings: Settings) -> None:
    """Accuracy on PGD's examples by the size of the change, 0 for images as they are."""

    def values(scores: Scores) -> list[tuple[float, float]]:
        found = [(0.0, scores["accuracy"]["test"])] if "accuracy" in scores else []
        found += [(size, scores["attack"][f"pgd {size:g}"]) for size in settings.epsilons]
        return [(x, 100 * y) for x, y in found]

    draw_lines(axes, networks, values)
    axes.set(title="adversarial examples (PGD)", xlabel="change, of 255", ylabel="accuracy, %")
