"""Online ensemble knowledge distillation, the paper that this package began with."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from keras import ops

from oekd_tf.core.choices import FEATURE_SCALES
from oekd_tf.core.paper import OEKD_ARGUMENTS
from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts.arguments import check_share, check_weight
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.distillation import ADAPTED, FEATURE_WEIGHT
from oekd_tf.methods.parts.network import Network
from oekd_tf.methods.parts.own_teacher import TakesTeacher
from oekd_tf.methods.parts.progress import Progress
from oekd_tf.methods.parts.weighted_teacher import WeightedTeacher

# Rules of `teacher_weights`.
RULES = ("cross_entropy", "simplex", "validation", "example", "better")
_TEACHER_SHARE = 0.5
# In place of a teacher: its logits come with the labels.
STORED = "stored"


@keras.saving.register_keras_serializable("oekd_tf")
class OEKD(TakesTeacher, WeightedTeacher):
    """Students follow the labels, the ensemble teacher and, on request, the pseudo teacher.

    The mean of all students' logits is the *ensemble teacher*, weighted by how good each student
    is. Student 1, of full width, is the *pseudo teacher*: with `features` the others' block
    outputs, through trained 1×1 *channel adaptation layers*, follow its own. The loss is
    α L_N + β L_I + γ L_D (equation 8), each term summed over students.

    The defaults are not the paper's, with which deep and narrow students lost, but what the search
    of docs/recipe_search.md came to. `OEKD.paper()` has the paper's.

    Args:
        temperature: T of the distillation loss, above 0.
        label_weight: α, weight of the cross-entropy with the labels, at least 0.
        feature_weight: β, weight of the intermediate feature loss, at least 0. With 0 it is not
            computed, its log is 0, and the channel adaptation layers keep their values. To be left
            out unless there are `features`.
        distillation_weight: γ, weight of the divergence from the ensemble teacher, at least 0.
        features: What of the pseudo teacher's features the others follow: None (nothing), "mse",
            which is the paper's, "relative_mse", "attention", "projected" or "channel_mean".
        feature_scale: With features="mse", "absolute" or "relative", which is "relative_mse":
            divided by the mean square of the pseudo teacher's block output, which grows with depth.
        warmup_epochs: Number of epochs over which β and γ rise linearly from 0; evaluation has
            them whole. 0 is the paper's: whole from the start.
        teacher_weights: One weight a student for the ensemble teacher, scaled to sum to 1; uniform
            when None, as in the paper. Or a rule that weighs students by how good they are:
            "cross_entropy", the default, is the softmax of −4 times each student's mean
            cross-entropy over the batch; "example", the same for each example by itself;
            "validation", the same on the validation images, after each epoch; "simplex", the
            mixture with the least cross-entropy of the batch; "better", for each student the mean
            of those with a lower cross-entropy than it (the best follows the labels alone).
            Weights are logged as "teacher_weight_1" and so on.
        train_adaptation: Whether the channel adaptation layers, which features="mse" and
            "relative_mse" have, are trained. The authors'
            published code leaves them at their random initial values in the first epoch and
            trains them from then on, at half the learning rate.
        adaptation_initializer: Name of the Keras initializer for the adaptation layers' kernels,
            such as "glorot_uniform", "he_normal", "orthogonal" or "zeros".
        teacher: A network that was trained before, as one more voice in the ensemble teacher: a
            Keras model from the same raw images to logits of the same classes, which prepares them
            itself; a `.keras` file of one; or the workdir of a finished run. It is copied and not
            trained; it is saved with the ensemble and never exported. Or "stored": its logits come
            with the labels, `fit(images, {"labels": labels, "teacher_logits": logits})`, and
            evaluation, which has none, leaves it out. None is no such voice.
        teacher_share: Its share in the ensemble teacher, above 0 and at most 1; 1 puts it in the
            place of the students' mean.
        stem_gradient: Whose gradient trains the stem: "all" students', their "mean", the
            "pseudo_teacher"'s alone, or "none".
        **kwargs: Others of `Distillation` and `Method`: `divergence`, `feature_blocks`,
            `distillation_schedule`, `feature_schedule`, `schedule_share`, `ema_decay`.

    Raises:
        ValueError: An argument breaks its rule above.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     backbone, (32, 32, 3), num_classes=10,
        ...     method=oekd_tf.methods.OEKD(distillation_weight=1.0))

    Reference:
        Walawalkar, Shen, Savvides, "Online Ensemble Model Compression using Knowledge
        Distillation", ECCV 2020, arXiv 2011.07449, section 3.
    """

    title = "online ensemble distillation"
    reference = "https://arxiv.org/abs/2011.07449"

    def __init__(
        self,
        temperature: float = 2.0,
        label_weight: float = 1.0,
        feature_weight: float = FEATURE_WEIGHT,
        distillation_weight: float = 2.0,
        *,
        features: str | None = None,
        feature_scale: str = "absolute",
        warmup_epochs: float = 0.0,
        teacher_weights: Sequence[float] | str | None = "cross_entropy",
        train_adaptation: bool = True,
        adaptation_initializer: str = "glorot_uniform",
        teacher: keras.Model | str | Path | None = None,
        teacher_share: float = 0.5,
        stem_gradient: str = "all",
        **kwargs: Any,
    ):
        super().__init__(
            temperature,
            label_weight,
            distillation_weight,
            features=features,
            feature_weight=feature_weight,
            stem_gradient=stem_gradient,
            **kwargs,
        )
        if feature_scale not in FEATURE_SCALES:
            raise ValueError(
                f"feature_scale must be one of {FEATURE_SCALES}. Received: {feature_scale!r}"
            )
        if feature_scale == "relative" and features not in ("mse", "relative_mse"):
            raise ValueError(
                "feature_scale must be 'absolute' unless features='mse'. "
                f"Received: {feature_scale!r} with features={features!r}"
            )
        self.feature_scale = feature_scale
        self.warmup_epochs = check_weight("warmup_epochs", warmup_epochs)
        self.teacher_weights = _normalised(teacher_weights)
        self.train_adaptation = bool(train_adaptation)
        self.adaptation_initializer = _checked_initializer(adaptation_initializer)
        self.teacher_share = check_share("teacher_share", teacher_share)
        self.is_stored = isinstance(teacher, str) and teacher == STORED
        if teacher is not None and not self.is_stored:
            self.take_teacher(teacher)
        elif teacher is None and teacher_share != _TEACHER_SHARE:
            raise ValueError(
                "teacher_share must be left out unless there is a teacher. "
                f"Received: {teacher_share} with teacher=None"
            )
        if features not in ADAPTED:
            for name, value, default in (
                ("train_adaptation", self.train_adaptation, True),
                ("adaptation_initializer", adaptation_initializer, "glorot_uniform"),
            ):
                if value != default:
                    raise ValueError(
                        f"{name} must be {default!r} unless there are channel adaptation layers, "
                        f"as with features='mse'. Received: {value!r} with features={features!r}"
                    )

    @classmethod
    def paper(cls, **kwargs: Any) -> "OEKD":
        """The paper's loss: α 0.7, β 0.15, γ 0.15, T 2, a uniform teacher, mean squared features.

        Args:
            **kwargs: Arguments of the class in place of the paper's.

        Returns:
            The method.

        Example:
            >>> ensemble = oekd_tf.OnlineEnsemble(
            ...     backbone, (32, 32, 3), num_classes=100, method=oekd_tf.methods.OEKD.paper())
        """
        return cls(**(OEKD_ARGUMENTS | kwargs))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "OEKD":
        # A file without an argument is of before there was another default than the paper's.
        arguments = OEKD_ARGUMENTS | config
        if isinstance(arguments.get("teacher"), dict):
            teacher = keras.saving.deserialize_keras_object(arguments["teacher"])
            arguments = {**arguments, "teacher": teacher}
        return cls(**arguments)

    def get_config(self) -> dict[str, Any]:
        teacher = STORED if self.is_stored else self.teacher_config()
        return {**super().get_config(), "teacher": teacher}

    def build(self, network: Network) -> None:
        super().build(network)
        if self.has_teacher:
            self.read_teacher(network)

    def teacher(self, batch: Batch) -> Tensor:
        if not self.has_teacher:
            return super().teacher(batch)
        own = self.own_logits(batch)
        if self.teacher_share == 1:
            return own
        return self._joined(super().teacher(batch), own)

    def targets(self, batch: Batch, logits: Tensor) -> Tensor:
        return self._with_stored(super().targets(batch, logits), batch)

    def target_of(self, mixture: Tensor, batch: Batch) -> Tensor:
        if not self.has_teacher:
            return self._with_stored(mixture, batch)
        if self.teacher_share == 1:
            # Of the mixture's shape, whose batch may not be known yet.
            return ops.stop_gradient(batch.teacher) + ops.zeros_like(mixture)
        # Not computed twice: what the ensemble teacher has beside the students' mean.
        students = (1.0 - self.teacher_share) * super().teacher(batch)
        own = (batch.teacher - students) / self.teacher_share
        return self._joined(mixture, ops.stop_gradient(own))

    def _with_stored(self, students: Tensor, batch: Batch) -> Tensor:
        if self.is_stored and batch.training and batch.stored is None:
            raise ValueError(
                "Labels must be a dict of 'labels' and 'teacher_logits' for teacher='stored'. "
                "Received: labels alone"
            )
        if batch.stored is None:
            return students
        return self._joined(students, batch.stored)

    def _joined(self, students: Tensor, own: Tensor) -> Tensor:
        return (1.0 - self.teacher_share) * students + self.teacher_share * own

    @property
    def rule(self) -> str | None:
        return self.teacher_weights if isinstance(self.teacher_weights, str) else None

    @property
    def fixed_weights(self) -> tuple[float, ...] | None:
        return None if isinstance(self.teacher_weights, str) else self.teacher_weights

    def check(self, students: int, epochs: int | None = None) -> None:
        if self.fixed_weights is not None and len(self.fixed_weights) != students:
            raise ValueError(
                f"teacher_weights must be None or {students} numbers, one a student. "
                f"Received: {len(self.fixed_weights)}"
            )
        if epochs is not None and self.warmup_epochs > epochs:
            raise ValueError(
                f"warmup_epochs must be at most the number of epochs, {epochs}. "
                f"Received: {self.warmup_epochs}"
            )

    def loss_weights(self, progress: Progress) -> dict[str, float | Tensor]:
        weights = super().loss_weights(progress)
        share = progress.linear(self.warmup_epochs)
        return {n: w if n == "label_loss" else share * w for n, w in weights.items()}

    @property
    def is_relative(self) -> bool:
        return super().is_relative or self.feature_scale == "relative"


def _normalised(weights: Sequence[float] | str | None) -> tuple[float, ...] | str | None:
    if weights is None or (isinstance(weights, str) and weights in RULES):
        return weights
    if isinstance(weights, str):
        raise ValueError(
            f"teacher_weights must be None, numbers, or one of {', '.join(RULES)}. "
            f"Received: {weights!r}"
        )
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
