"""Distillation from a teacher that was trained before."""

from pathlib import Path
from typing import Any

import keras

from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.distillation import Distillation
from oekd_tf.methods.parts.network import Network
from oekd_tf.methods.parts.own_teacher import RULE, TakesTeacher


@keras.saving.register_keras_serializable("oekd_tf")
class Offline(TakesTeacher, Distillation):
    """Every student follows the labels and a fixed teacher.

    L_i = α CE(y, z_i) + γ T² KL(softmax(z_t/T) ‖ softmax(z_i/T)), with the logits z_t of a network
    that is trained already. What one would do without an online ensemble; the teacher's own
    training has to be counted beside it. The teacher is saved with the ensemble, never exported.

    Args:
        teacher: A Keras model from the same raw images to logits of the same classes; an
            `OnlineEnsemble`, whose student 1 is then the teacher; the path of a `.keras` file of
            either; or the workdir of a finished run.
        temperature: T, above 0.
        label_weight: α, weight of the cross-entropy with the labels, at least 0.
        distillation_weight: γ, weight of the divergence from the teacher, at least 0.
        **kwargs: Others of `Distillation` and `Method`, such as `divergence` and `stem_gradient`.

    Raises:
        ValueError: An argument breaks its rule above, or the teacher takes other images or gives
            other classes.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     backbone, (32, 32, 3), num_classes=10,
        ...     method=oekd_tf.methods.Offline(teacher="runs/teacher"))

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531.
    """

    title = "offline distillation"
    reference = "https://arxiv.org/abs/1503.02531"
    teacher_title = "Fixed teacher"

    def __init__(
        self,
        teacher: keras.Model | str | Path | None = None,
        temperature: float = 2.0,
        label_weight: float = 0.7,
        distillation_weight: float = 0.15,
        **kwargs: Any,
    ):
        super().__init__(temperature, label_weight, distillation_weight, **kwargs)
        if teacher is None:
            raise ValueError(f"{RULE} Received: none")
        self.take_teacher(teacher)

    def build(self, network: Network) -> None:
        super().build(network)
        self.read_teacher(network)

    def teacher(self, batch: Batch) -> Tensor:
        return self.own_logits(batch)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "teacher": self.teacher_config()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Offline":
        teacher = keras.saving.deserialize_keras_object(config["teacher"])
        return cls(**{**config, "teacher": teacher})
