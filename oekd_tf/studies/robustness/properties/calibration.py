"""Whether probabilities say how often a network is right."""

from collections.abc import Sequence
from typing import Any

from oekd_tf.studies import metrics
from oekd_tf.studies.robustness.lines import Line, draw_bars
from oekd_tf.studies.robustness.material import Column, Material, Scores, Settings, Step, percent
from oekd_tf.studies.robustness.subjects import Subject
from oekd_tf.studies.robustness.temperature import fit_temperature

_MEASURES = {
    "ece": metrics.expected_calibration_error,
    "nll": metrics.negative_log_likelihood,
    "brier": metrics.brier_score,
}

ORDER = 4


def steps(material: Material) -> list[Step]:
    """A step for each network.

    `ece`, `nll` and `brier` are of the test images; `temperature` is fitted on validation images,
    where there are some, and `ece scaled` and so on are with it.
    """

    def step(subject: Subject) -> Step:
        def measure() -> dict[str, dict[str, float]]:
            logits = material.clean[subject.key]
            found = {name: of(logits, material.labels) for name, of in _MEASURES.items()}
            if material.validation is not None:
                images, labels = material.validation
                temperature = fit_temperature(subject.logits(images), labels)
                found["temperature"] = temperature
                for name, of in _MEASURES.items():
                    found[f"{name} scaled"] = of(logits / temperature, material.labels)
            return {subject.key: found}

        return Step(subject.key, measure)

    return [step(subject) for subject in material.subjects]


def summary(settings: Settings) -> list[Column]:
    return [
        percent("calibration", "ece", "ECE %"),
        percent("calibration", "ece scaled", "ECE scaled %"),
    ]


def details(settings: Settings, channels: int) -> list[Column]:
    def column(measure: str, title: str) -> Column:
        return Column(title, lambda scores: scores.get("calibration", {}).get(measure), 3)

    return [
        *summary(settings),
        column("nll", "NLL"),
        column("nll scaled", "NLL scaled"),
        column("brier", "Brier"),
        column("brier scaled", "Brier scaled"),
        column("temperature", "temperature"),
    ]


def draw(axes: Any, networks: Sequence[Line], settings: Settings) -> None:
    """Expected calibration error, before temperature scaling."""

    def value(scores: Scores) -> float:
        return 100 * scores["calibration"]["ece"]

    draw_bars(axes, networks, value)
    axes.set(title="calibration", ylabel="ECE, %")
