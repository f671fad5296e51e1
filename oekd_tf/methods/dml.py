"""Deep mutual learning."""

from typing import Any

import keras
from keras import ops

from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts import losses
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.method import Method, check_temperature, check_weight
from oekd_tf.methods.parts.progress import Progress


@keras.saving.register_keras_serializable("oekd_tf")
class DML(Method):
    """Every student follows the labels and each of the other students.

    L_i = CE(y, z_i) + 1/(M−1) Σ_{j≠i} T² KL(softmax(z_j/T) ‖ softmax(z_i/T)), the others detached
    (equation 7 of the paper, where T is 1). All students are updated at once; the paper updates
    them in turn. The paper's networks share nothing: `OnlineEnsemble(..., shared_stem=False)`.

    Args:
        temperature: T, above 0; 1 in the paper, 2 or 3 in later codes.
        label_weight: Weight of the cross-entropy with the labels, at least 0.
        distillation_weight: Weight of the divergence from the other students, at least 0.
        **kwargs: Others of `Method`, such as `stem_gradient`.

    Raises:
        ValueError: An argument breaks its rule above, or the ensemble has a single student.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     backbone, (32, 32, 3), num_classes=10, method="dml", shared_stem=False)

    Reference:
        Zhang, Xiang, Hospedales, Lu, "Deep Mutual Learning", CVPR 2018, arXiv 1706.00384.
    """

    title = "deep mutual learning"
    reference = "https://arxiv.org/abs/1706.00384"

    def __init__(
        self,
        temperature: float = 1.0,
        label_weight: float = 1.0,
        distillation_weight: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.temperature = check_temperature(temperature)
        self.label_weight = check_weight("label_weight", label_weight)
        self.distillation_weight = check_weight("distillation_weight", distillation_weight)

    def check(self, students: int, epochs: int | None = None) -> None:
        if students < 2:
            raise ValueError(
                "widths must be of two students at least, because they learn from each other. "
                f"Received: {students}"
            )

    def loss_weights(self, progress: Progress) -> dict[str, float | Tensor]:
        del progress
        return {"label_loss": self.label_weight, "distillation_loss": self.distillation_weight}

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        logits = ops.stack(list(batch.logits))
        divergence = losses.mutual_loss(logits, self.temperature)
        return {
            "label_loss": ops.sum(batch.label_loss(logits), axis=0),
            "distillation_loss": ops.sum(divergence, axis=0),
        }
