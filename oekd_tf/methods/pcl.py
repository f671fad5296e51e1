"""Peer collaborative learning: an ensemble head, and moving averages of the peers."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from oekd_tf.core.keras_internals import unlocked
from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts.arguments import check_choice, check_students, check_views
from oekd_tf.methods.parts.averages import Averages
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.network import Network
from oekd_tf.methods.parts.trained_teacher import TrainedTeacher

TEACHERS = ("both", "ensemble", "mean")


@keras.saving.register_keras_serializable("oekd_tf")
class PCL(TrainedTeacher):
    """Students follow a head on all their features, and the moving averages of the others.

    A dense head on the concatenated pooled features is the *peer ensemble teacher* z_E. For each
    student a copy with moving averages of its weights is a *peer mean teacher* z̄_j:

    L = CE(y, z_E) + Σ_i { CE(y, z_i) + w(e) [T² KL(z_E ‖ z_i) + 1/(M−1) Σ_{j≠i} T² KL(z̄_j ‖ z_i)] }

    where KL(t ‖ s) is between softmax(t/T), detached, and softmax(s/T). w(e) is a sigmoid ramp
    over the first 0.27 of the training, 80 of 300 epochs. After step t an average is d times
    itself plus 1 − d times the weight, d = min(1 − 1/t, `ema_decay`). Mean teachers run in
    training mode, with batch normalisation statistics of their own.

    **What is evaluated, predicted and exported are the mean teachers**, here as in the code that
    this was read from; `ensemble.students` are the networks that are trained.

    Each student sees the images through an augmentation of its own, and its mean teacher the same:
    give `fit` images of shape (batch, students, height, width, channels); runs of a config have
    them. Images without views, (batch, height, width, channels), are taken too.

    Made for peers of one width; neither head nor averages depend on it.

    Args:
        temperature: T, above 0.
        label_weight: Weight of the students' cross-entropy with the labels, at least 0.
        distillation_weight: Weight of both divergences, at least 0.
        teacher_label_weight: Weight of the head's own cross-entropy, at least 0.
        teachers: Which teachers students follow: the head ("ensemble"), the "mean" teachers, or
            "both".
        ema_decay: Decay of the moving averages, above 0 and below 1.
        views: "students" for an augmentation for each student, or 1 for one that all see.
        distillation_schedule: w(e), as in `Distillation`; "sigmoid" if it is not given.
        **kwargs: Others of `Distillation` and `Method`, such as `schedule_share` and `divergence`.

    Raises:
        ValueError: An argument breaks its rule above, or the ensemble has a single student.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     backbone, (32, 32, 3), num_classes=10, method="pcl")

    Reference:
        Wu, Gong, "Peer Collaborative Learning for Online Knowledge Distillation", AAAI 2021, arXiv
        2006.04147. The formula is that of https://github.com/shaoeric/Peer-Collaborative-Learning-
        for-Online-Knowledge-Distillation, with a ramp in place of its step; it was not checked
        against the paper's text.
    """

    title = "peer collaborative learning"
    reference = "https://arxiv.org/abs/2006.04147"
    teacher_title = "Head on the features of all students"
    plain_images = True
    # Whether mean teachers begin at other values than the students.
    independent = False

    def __init__(
        self,
        temperature: float = 3.0,
        label_weight: float = 1.0,
        distillation_weight: float = 1.0,
        *,
        teachers: str = "both",
        ema_decay: float | None = 0.999,
        views: int | str = "students",
        **kwargs: Any,
    ):
        super().__init__(
            temperature, label_weight, distillation_weight, ema_decay=ema_decay, **kwargs
        )
        self.views = check_views(views)
        self.teachers = check_choice("teachers", teachers, TEACHERS)
        self._check_decay()

    def _check_decay(self) -> None:
        if self.ema_decay is None:
            raise ValueError(
                "ema_decay must be a number above 0 and below 1, because mean teachers are moving "
                "averages. Received: None"
            )

    def check(self, students: int, epochs: int | None = None) -> None:
        check_students(students, 2, "they learn from each other")

    def build(self, network: Network) -> None:
        super().build(network)
        self.head = layers.Dense(network.num_classes, dtype="float32", name="head")
        self.head.build((None, sum(network.feature_channels)))

    def build_averages(self, students: Sequence[keras.Model]) -> None:
        with unlocked(self):
            self.moving_averages = Averages(
                self,
                students,
                # Of what the mean teachers see, where they are run in training.
                own_statistics=self.teachers != "ensemble",
                independent=self.independent,
            )

    def teacher(self, batch: Batch) -> Tensor:
        features = [ops.cast(seen, "float32") for seen in batch.features]
        return self.head(ops.concatenate(features, axis=-1))

    def distance(self, batch: Batch, logits: Tensor) -> Tensor:
        terms = []
        if self.teachers != "mean":
            terms.append(ops.sum(self.divergence_from(batch.teacher, logits, batch), axis=0))
        if self.teachers != "ensemble":
            terms.append(self.distance_from_means(batch, logits, self.mean_logits(batch)))
        return sum(terms)

    def distance_from_means(self, batch: Batch, logits: Tensor, means: Tensor) -> Tensor:
        """The sum over students of the mean divergence from the other students' mean teachers.

        Args:
            batch: The batch.
            logits: Students' logits, (students, batch, classes).
            means: Mean teachers' logits, of the same shape.

        Returns:
            (batch,).
        """
        return self.distance_from_peers(means, logits, batch)

    def mean_logits(self, batch: Batch) -> Tensor:
        """Logits of all mean teachers, each on its student's view.

        Args:
            batch: The batch.

        Returns:
            (students, batch, classes), detached.
        """
        # In evaluation the students are the mean teachers.
        if not batch.training:
            return ops.stop_gradient(ops.stack(list(batch.logits)))
        assert self.moving_averages is not None, "The ensemble makes them"
        views = len(batch.images.shape) == 5
        return ops.stack(
            [
                self.moving_averages.run(student, batch.images[:, index] if views else batch.images)
                for index, student in enumerate(batch.students)
            ]
        )
