"""Collaborative learning with intermediate-level representations shared."""

from typing import Any

import keras
from keras import ops

from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts import losses
from oekd_tf.methods.parts.arguments import check_students
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.distillation import Distillation


@keras.saving.register_keras_serializable("oekd_tf")
class CLILR(Distillation):
    """Every student follows the labels and the mean of the other students' logits.

    L_i = α CE(y, z_i) + γ T² KL(softmax(q_i/T) ‖ softmax(z_i/T)) with q_i = 1/(M−1) Σ_{j≠i} z_j,
    detached. The gradient that flows back into the shared stem is divided by the number M of
    students, so that the stem does not learn M times as fast as a branch
    (`stem_gradient="mean"`).

    Made for heads of one width; nothing in it depends on the width. The paper forks more than
    once; here there is one fork, behind the stem.

    Args:
        temperature: T, above 0.
        label_weight: α, weight of the cross-entropy with the labels, at least 0.
        distillation_weight: γ, weight of the divergence from the others' mean, at least 0.
        stem_gradient: As in `Method`.
        **kwargs: Others of `Distillation` and `Method`, such as `divergence`.

    Raises:
        ValueError: An argument breaks its rule above, or the ensemble has a single student.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     backbone, (32, 32, 3), num_classes=10, method="cl_ilr")

    Reference:
        Song, Chai, "Collaborative Learning for Deep Neural Networks", NeurIPS 2018, arXiv
        1805.11761. α = γ = 0.5 and T = 2 as two independent codes have them; they differ in
        whether T² is there.
    """

    title = "collaborative learning"
    reference = "https://arxiv.org/abs/1805.11761"

    def __init__(
        self,
        temperature: float = 2.0,
        label_weight: float = 0.5,
        distillation_weight: float = 0.5,
        *,
        stem_gradient: str = "mean",
        **kwargs: Any,
    ):
        super().__init__(
            temperature, label_weight, distillation_weight, stem_gradient=stem_gradient, **kwargs
        )

    def check(self, students: int, epochs: int | None = None) -> None:
        check_students(students, 2, "they learn from each other")

    def targets(self, batch: Batch, logits: Tensor) -> Tensor:
        # Detached before the sum, or gradients would be held back as a whole.
        return losses.mean_of_others(ops.stop_gradient(logits))
