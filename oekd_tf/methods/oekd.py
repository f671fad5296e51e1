"""Online ensemble knowledge distillation, the paper that this package began with."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from oekd_tf.core.choices import FEATURE_SCALES
from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts import losses
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.method import Method, check_temperature, check_weight
from oekd_tf.methods.parts.network import Network
from oekd_tf.methods.parts.progress import Progress


@keras.saving.register_keras_serializable("oekd_tf")
class OEKD(Method):
    """Students follow the labels, the ensemble teacher and the pseudo teacher's features.

    The mean of all students' logits is the *ensemble teacher*. Student 1, of full width, is the
    *pseudo teacher*: the others' block outputs, through trained 1×1 *channel adaptation layers*,
    follow its own. The loss is α L_N + β L_I + γ L_D (equation 8), each term summed over students.

    Args:
        temperature: T of the distillation loss, above 0.
        label_weight: α, weight of the cross-entropy with the labels, at least 0.
        feature_weight: β, weight of the intermediate feature loss, at least 0. With 0 it is not
            computed, its log is 0, and the channel adaptation layers keep their values.
        distillation_weight: γ, weight of the divergence from the ensemble teacher, at least 0.
        feature_scale: "absolute", the paper's mean squared error, or "relative": divided by the
            mean square of the pseudo teacher's block output, which grows with depth.
        warmup_epochs: Number of epochs over which β and γ rise linearly from 0; evaluation has
            them whole. 0 is the paper's: whole from the start.
        teacher_weights: One weight a student for the ensemble teacher, scaled to sum to 1;
            uniform when None.
        train_adaptation: Whether the channel adaptation layers are trained. The authors'
            published code leaves them at their random initial values in the first epoch and
            trains them from then on, at half the learning rate.
        adaptation_initializer: Name of the Keras initializer for the adaptation layers' kernels,
            such as "glorot_uniform", "he_normal", "orthogonal" or "zeros".
        stem_gradient: Whose gradient trains the stem: "all" students', their "mean", the
            "pseudo_teacher"'s alone, or "none".
        **kwargs: Others of `Method`.

    Raises:
        ValueError: An argument breaks its rule above.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     backbone, (32, 32, 3), num_classes=10,
        ...     method=oekd_tf.methods.OEKD(temperature=2.0, feature_weight=0.15))

    Reference:
        Walawalkar, Shen, Savvides, "Online Ensemble Model Compression using Knowledge
        Distillation", ECCV 2020, arXiv 2011.07449, section 3.
    """

    title = "online ensemble distillation"
    reference = "https://arxiv.org/abs/2011.07449"

    def __init__(
        self,
        temperature: float = 2.0,
        label_weight: float = 0.7,
        feature_weight: float = 0.15,
        distillation_weight: float = 0.15,
        *,
        feature_scale: str = "absolute",
        warmup_epochs: float = 0.0,
        teacher_weights: Sequence[float] | None = None,
        train_adaptation: bool = True,
        adaptation_initializer: str = "glorot_uniform",
        stem_gradient: str = "all",
        **kwargs: Any,
    ):
        super().__init__(stem_gradient=stem_gradient, **kwargs)
        self.temperature = check_temperature(temperature)
        self.label_weight = check_weight("label_weight", label_weight)
        self.feature_weight = check_weight("feature_weight", feature_weight)
        self.distillation_weight = check_weight("distillation_weight", distillation_weight)
        if feature_scale not in FEATURE_SCALES:
            raise ValueError(
                f"feature_scale must be one of {FEATURE_SCALES}. Received: {feature_scale!r}"
            )
        self.feature_scale = feature_scale
        self.warmup_epochs = check_weight("warmup_epochs", warmup_epochs)
        self.teacher_weights = _normalised(teacher_weights)
        self.train_adaptation = bool(train_adaptation)
        self.adaptation_initializer = _checked_initializer(adaptation_initializer)

    def check(self, students: int, epochs: int | None = None) -> None:
        if self.teacher_weights is not None and len(self.teacher_weights) != students:
            raise ValueError(
                f"teacher_weights must be None or {students} numbers, one a student. "
                f"Received: {self.teacher_weights}"
            )
        if epochs is not None and self.warmup_epochs > epochs:
            raise ValueError(
                f"warmup_epochs must be at most the number of epochs, {epochs}. "
                f"Received: {self.warmup_epochs}"
            )

    def build(self, network: Network) -> None:
        self.adaptation = [
            [
                layers.Conv2D(
                    target[-1],
                    1,
                    # By name: each layer then makes one of its own, with numbers of its own.
                    kernel_initializer=self.adaptation_initializer,
                    name=f"student_{number}_block_{block}_adaptation",
                )
                for block, target in enumerate(network.blocks[0], start=1)
            ]
            for number in range(2, len(network.widths) + 1)
        ]
        for student_layers, shapes in zip(self.adaptation, network.blocks[1:], strict=True):
            for layer, shape in zip(student_layers, shapes, strict=True):
                layer.build(shape)
                layer.trainable = self.train_adaptation

    def loss_weights(self, progress: Progress) -> dict[str, float | Tensor]:
        share = progress.linear(self.warmup_epochs)
        return {
            "label_loss": self.label_weight,
            "feature_loss": share * self.feature_weight,
            "distillation_loss": share * self.distillation_weight,
        }

    def teacher(self, batch: Batch) -> Tensor:
        return losses.ensemble_logits(ops.stack(list(batch.logits)), self.teacher_weights)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        logits = ops.stack(list(batch.logits))
        divergence = losses.distillation_loss(batch.teacher, logits, self.temperature)
        terms = {
            "label_loss": ops.sum(batch.label_loss(logits), axis=0),
            "distillation_loss": ops.sum(divergence, axis=0),
        }
        if self.feature_weight and len(batch.logits) > 1:
            terms["feature_loss"] = sum(
                losses.feature_loss(target, adapted, relative=self.feature_scale == "relative")
                for student in self.adapted(batch)
                for target, adapted in zip(batch.blocks[0], student, strict=True)
            )
        return terms

    def adapted(self, batch: Batch) -> list[list[Tensor]]:
        """Block outputs of students 2 and up after their channel adaptation layers.

        Args:
            batch: The batch.

        Returns:
            For each of these students and each block, (batch, height, width, channels) with the
            pseudo teacher's number of channels.
        """
        return [
            [layer(block) for layer, block in zip(*pair, strict=True)]
            for pair in zip(self.adaptation, batch.blocks[1:], strict=True)
        ]


def _normalised(weights: Sequence[float] | None) -> tuple[float, ...] | None:
    if weights is None:
        return None
    valid = all(math.isfinite(w) and w >= 0 for w in weights) and sum(weights) > 0
    if not valid:
        raise ValueError(
            "teacher_weights must be None or numbers, one a student, none below 0 and not all 0. "
            f"Received: {weights}"
        )
    return tuple(float(weight) / sum(weights) for weight in weights)


def _checked_initializer(name: str) -> str:
    # Looked up, not made: an initializer that is made takes a number from the global generator,
    # and every layer's initial weights would be other ones.
    if not (isinstance(name, str) and callable(getattr(keras.initializers, name, None))):
        raise ValueError(
            f"adaptation_initializer must be the name of a Keras initializer. Received: {name!r}"
        )
    return name
