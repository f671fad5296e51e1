"""What properties are measured with, what they measure, and how tables show it."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from oekd_tf.studies.robustness.subjects import Subject, with_gradients


class Settings(NamedTuple):
    """What of robustness is measured, as `robustness.json` has it.

    Attributes:
        images: Number of test images, the first ones; 0 is all.
        attack_images: Number of them that adversarial examples are made of.
        severities: Severities of corruptions, whole numbers from 1 to 5.
        epsilons: Largest changes of a pixel by an attack, of 255.
        sparsities: Shares of weights that are pruned.
        other: Another data set, to be told from the run's own; "" for none.
        seed: Random seed.
    """

    images: int = 1000
    attack_images: int = 250
    severities: tuple[float, ...] = (1, 3, 5)
    epsilons: tuple[float, ...] = (2.0, 4.0, 8.0)
    sparsities: tuple[float, ...] = (0.5, 0.8, 0.9)
    other: str = ""
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Material:
    """Networks and images.

    Attributes:
        subjects: The networks.
        images: Test images, uint8, (images, height, width, channels).
        labels: Their class indices.
        validation: Validation images and labels; None where the run has none.
        others: Images of other data sets, by name.
        settings: What is measured.
        folder: Where pictures go.
    """

    subjects: Sequence[Subject]
    images: np.ndarray
    labels: np.ndarray
    validation: tuple[np.ndarray, np.ndarray] | None
    others: Mapping[str, np.ndarray]
    settings: Settings
    folder: Path

    @functools.cached_property
    def clean(self) -> dict[str, np.ndarray]:
        """Logits of all networks on the test images as they are."""
        return self.logits(self.images)

    def logits(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Logits of all networks by their keys; files, which use one core, beside the others."""
        networks = with_gradients(self.subjects)
        files = [subject for subject in self.subjects if subject not in networks]
        # Keras makes one function at a time, in this thread.
        with ThreadPoolExecutor(1) as pool:
            of_files = pool.map(lambda subject: subject.logits(images), files)
            found = {subject.key: subject.logits(images) for subject in networks}
            found |= zip((subject.key for subject in files), of_files, strict=True)
        return {subject.key: found[subject.key] for subject in self.subjects}


# Scores of a network by property and measure.
Scores = Mapping[str, Mapping[str, float]]


class Column(NamedTuple):
    """A column of a table, a row of which is a network.

    Attributes:
        title: Title of the column.
        value: Function from a network's scores to the value; None where it is not known.
        digits: Digits behind the point.
    """

    title: str
    value: Callable[[Scores], float | None]
    digits: int = 1


def percent(property_: str, measure: str, title: str | None = None) -> Column:
    """A column of one measure in %.

    Args:
        property_: Name of the property.
        measure: Name of the measure.
        title: Title; the measure with % if None.
    """

    def value(scores: Scores) -> float | None:
        found = scores.get(property_, {}).get(measure)
        return None if found is None else 100 * found

    return Column(f"{measure} %" if title is None else title, value)


def mean_of(property_: str, prefix: str, title: str) -> Column:
    """A column of the mean in % of all measures whose names begin so.

    Args:
        property_: Name of the property.
        prefix: Beginning of the measures' names; "" for all.
        title: Title.
    """

    def value(scores: Scores) -> float | None:
        own = scores.get(property_, {})
        found = [score for measure, score in own.items() if measure.startswith(prefix)]
        return 100 * float(np.mean(found)) if found else None

    return Column(title, value)


class Step(NamedTuple):
    """A part of a property's measurements, after which a stopped command goes on.

    Attributes:
        name: Name that is shown, unique among a property's steps.
        measure: Function that gives scores by subject's key and by measure.
    """

    name: str
    measure: Callable[[], dict[str, dict[str, float]]]
