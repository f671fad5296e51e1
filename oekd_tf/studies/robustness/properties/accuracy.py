"""Accuracy on test images as they are."""

from oekd_tf.studies.metrics import accuracy
from oekd_tf.studies.robustness.material import Column, Material, Settings, Step, percent

ORDER = 0


def steps(material: Material) -> list[Step]:
    """One step: `test` of each network, from 0 to 1."""

    def measure() -> dict[str, dict[str, float]]:
        return {
            key: {"test": accuracy(logits, material.labels)}
            for key, logits in material.clean.items()
        }

    return [Step("test images", measure)]


def summary(settings: Settings) -> list[Column]:
    return [percent("accuracy", "test", "test %")]


def details(settings: Settings, channels: int) -> list[Column]:
    return []
