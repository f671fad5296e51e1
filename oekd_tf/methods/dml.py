"""Deep mutual learning."""

from typing import Any

import keras

from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts.arguments import check_students
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.distillation import Distillation


@keras.saving.register_keras_serializable("oekd_tf")
class DML(Distillation):
    """Every student follows the labels and each of the other students.

    L_i = CE(y, z_i) + 1/(M−1) Σ_{j≠i} T² KL(softmax(z_j/T) ‖ softmax(z_i/T)), the others detached
    (equation 7 of the paper, where T is 1). All students are updated at once; the paper updates
    them in turn. The paper's networks share nothing: `OnlineEnsemble(..., shared_stem=False)`.

    Args:
        temperature: T, above 0; 1 in the paper, 2 or 3 in later codes.
        label_weight: Weight of the cross-entropy with the labels, at least 0.
        distillation_weight: Weight of the divergence from the other students, at least 0.
        **kwargs: Others of `Distillation` and `Method`, such as `divergence` and `stem_gradient`.

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
        super().__init__(temperature, label_weight, distillation_weight, **kwargs)

    def check(self, students: int, epochs: int | None = None) -> None:
        check_students(students, 2, "they learn from each other")

    def distance(self, batch: Batch, logits: Tensor) -> Tensor:
        return self.distance_from_peers(logits, logits, batch)
