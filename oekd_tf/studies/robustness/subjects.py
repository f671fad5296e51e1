"""The networks of a run whose robustness is measured: students together and alone, and files."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import keras
import numpy as np

from oekd_tf.core.files import remove, write_bytes
from oekd_tf.core.types import Tensor
from oekd_tf.device.tflite_model import TfliteModel
from oekd_tf.export import formats
from oekd_tf.export.formats.parts.signature import write_converter_input
from oekd_tf.export.plain_student import plain_student
from oekd_tf.models.online_ensemble import OnlineEnsemble
from oekd_tf.models.size import count_parameters

Trained = Literal["together", "alone"]
Form = Literal["keras", "int8"]
TOGETHER: Final = "together"
ALONE: Final = "alone"
KERAS: Final = "keras"
INT8: Final = "int8"
_BATCH = 256


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network in one form.

    Attributes:
        student: Name of the student.
        trained: "together" or "alone".
        form: "keras" or "int8", its TFLite file.
        width: Fraction of the full number of channels.
        parameters: Number of trainable parameters.
        model: The Keras model, also of a file.
        logits: Function from raw images to logits.
    """

    student: str
    trained: Trained
    form: Form
    width: float
    parameters: int
    model: keras.Model
    logits: Callable[[np.ndarray], np.ndarray]

    @property
    def key(self) -> str:
        return f"{self.student} {self.trained} {self.form}"


def keras_subjects(model: Any, trained: Trained, widths: dict[str, float]) -> list[Subject]:
    """The students of a restored model.

    Args:
        model: An ensemble, or a student that was trained alone.
        trained: How it was trained.
        widths: Width of each student by name.
    """
    networks = model.exported_models() if isinstance(model, OnlineEnsemble) else [model]
    found = []
    for network in networks:
        copy = plain_student(network)
        found.append(
            Subject(
                network.name, trained, KERAS, widths[network.name], count_parameters(network),
                copy, _predictor(copy),
            )
        )  # fmt: skip
    return found


def _predictor(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """As `predict`, which for small networks takes longer to begin than to end."""
    import tensorflow as tf

    @tf.function(autograph=False)
    def logits_of(images: Tensor) -> Tensor:
        return model(images, training=False)

    def predict(images: np.ndarray) -> np.ndarray:
        found = []
        for first in range(0, len(images), _BATCH):
            batch = np.asarray(images[first : first + _BATCH], np.float32)
            # Always of one size, because another one would be compiled anew.
            padded = np.concatenate([batch, np.zeros((_BATCH - len(batch), *batch.shape[1:]))])
            found.append(logits_of(tf.constant(padded, tf.float32)).numpy()[: len(batch)])
        return np.concatenate(found)

    return predict


def int8_subject(subject: Subject, calibration_images: np.ndarray, path: Path) -> Subject:
    """A Keras subject's file in int8, which is converted where it is not there yet.

    Args:
        subject: The Keras subject.
        calibration_images: Training images to measure ranges on.
        path: The TFLite file.
    """
    if not path.exists():
        scratch = path.with_suffix(".scratch")
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(scratch)
        write_converter_input(subject.model, scratch)
        source = formats.Source(scratch, subject.student, calibration_images)
        write_bytes(path, formats.kind(INT8).convert(source))
        remove(scratch)
    return dataclasses.replace(subject, form=INT8, logits=TfliteModel(path).logits)


def with_gradients(subjects: Sequence[Subject]) -> list[Subject]:
    """Those that have gradients."""
    return [subject for subject in subjects if subject.form == KERAS]
