"""Online distillation via collaborative learning, made for students of unequal capacity."""

from typing import Any

import keras
from keras import ops

from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts import divergences
from oekd_tf.methods.parts.arguments import check_choice, check_students, check_views
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.weighted_teacher import WeightedTeacher

# By target the rule that weighs the students; "minlogit" is no weighted mean.
_RULES = {"naive": "best", "linear": "simplex", "minlogit": None, "general": "covariance"}
TARGETS = tuple(_RULES)


@keras.saving.register_keras_serializable("oekd_tf")
class KDCL(WeightedTeacher):
    """Every student follows the labels and a target that is made of all students' logits.

    L_i = α CE(y, z_i) + γ T² KL(softmax(z_t/T) ‖ softmax(z_i/T)), the target z_t detached. With
    labels y,

    - naive: for each example the logits of the student with the least CE(y, z_i);
    - linear: Σ w_i z_i with weights on the simplex that give the batch the least CE(y, Σ w_i z_i);
    - minlogit: z̃_i = z_i − z_i[y], then for each class the least of all students: as hard an
      answer as any of them gives;
    - general: Σ w_i z_i with w = C⁻¹1 / (1ᵀC⁻¹1), where C_ij is the mean of (p_i − y)(p_j − y) on
      the validation images, after each epoch; uniform in the first. A thousandth of its mean
      diagonal is added to C's; weights may be below 0.

    Students that see the images through augmentations of their own also learn not to mind them:
    give `fit` images of shape (batch, students, height, width, channels); runs of a config have
    them. Images without views, (batch, height, width, channels), are taken too.

    Of soft labels, minlogit takes the most probable class. The teacher that is logged and
    evaluated knows no labels: the mean, weighted by the moving average of the weights.

    Args:
        target: "naive", "linear", "minlogit" or "general".
        temperature: T, above 0.
        label_weight: α, weight of the cross-entropy with the labels, at least 0.
        distillation_weight: γ, weight of the divergence from the target, at least 0.
        views: "students" for an augmentation for each student, or 1 for one that all see.
        **kwargs: Others of `Distillation` and `Method`, such as `divergence` and `stem_gradient`.

    Raises:
        ValueError: An argument breaks its rule above, or the ensemble has a single student.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     backbone, (32, 32, 3), num_classes=10,
        ...     method=oekd_tf.methods.KDCL(target="minlogit"))

    Reference:
        Guo, Wang, Wu, Yu, Liang, Hu, Luo, "Online Knowledge Distillation via Collaborative
        Learning", CVPR 2020. No code of the authors is public: T = 2 and γ = 1 are second hand.
    """

    title = "knowledge distillation via collaborative learning"
    reference = (
        "https://openaccess.thecvf.com/content_CVPR_2020/html/"
        "Guo_Online_Knowledge_Distillation_via_Collaborative_Learning_CVPR_2020_paper.html"
    )
    plain_images = True

    def __init__(
        self,
        target: str = "minlogit",
        temperature: float = 2.0,
        label_weight: float = 1.0,
        distillation_weight: float = 1.0,
        *,
        views: int | str = "students",
        **kwargs: Any,
    ):
        super().__init__(temperature, label_weight, distillation_weight, **kwargs)
        self.views = check_views(views)
        self.target = check_choice("target", target, TARGETS)

    @property
    def rule(self) -> str | None:
        return _RULES[self.target]

    def check(self, students: int, epochs: int | None = None) -> None:
        check_students(students, 2, "they learn from each other")

    def targets(self, batch: Batch, logits: Tensor) -> Tensor:
        if self.target != "minlogit":
            return super().targets(batch, logits)
        true = divergences.true_class(batch.labels, logits)
        of_true = ops.sum(logits * true, axis=-1, keepdims=True)
        return ops.min(ops.stop_gradient(logits - of_true), axis=0)
