"""Methods whose teacher is trained with the students: it follows the labels itself."""

from typing import Any

from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts.arguments import check_weight
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.distillation import Distillation
from oekd_tf.methods.parts.progress import Progress


class TrainedTeacher(Distillation):
    """A teacher with parameters of its own, that learns from the labels.

    L = α Σ_i CE(y, z_i) + α_E CE(y, z_E) + γ w(e) Σ_i D(z_E ‖ z_i), with z_E detached in the
    divergence only.

    Args:
        temperature: T, above 0.
        label_weight: α, weight of the students' cross-entropy with the labels, at least 0.
        distillation_weight: γ, weight of the divergence from the teacher, at least 0.
        teacher_label_weight: α_E, weight of the teacher's own cross-entropy, at least 0.
        distillation_schedule: w(e), as in `Distillation`.
        **kwargs: Others of `Distillation` and `Method`.

    Raises:
        ValueError: An argument breaks its rule above.
    """

    def __init__(
        self,
        temperature: float = 3.0,
        label_weight: float = 1.0,
        distillation_weight: float = 1.0,
        *,
        teacher_label_weight: float = 1.0,
        distillation_schedule: str = "sigmoid",
        **kwargs: Any,
    ):
        super().__init__(
            temperature, label_weight, distillation_weight,
            distillation_schedule=distillation_schedule, **kwargs,
        )  # fmt: skip
        self.teacher_label_weight = check_weight("teacher_label_weight", teacher_label_weight)

    def loss_weights(self, progress: Progress) -> dict[str, float | Tensor]:
        return {
            **super().loss_weights(progress),
            "teacher_label_loss": self.teacher_label_weight,
        }

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        return {**super().terms(batch), "teacher_label_loss": batch.label_loss(batch.teacher)}
