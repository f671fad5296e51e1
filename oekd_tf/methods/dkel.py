"""Decoupled knowledge with ensemble learning: mean teachers that do not begin as the students."""

from typing import Any

import keras
from keras import ops

from oekd_tf.core.types import Tensor
from oekd_tf.core.variables import as_array
from oekd_tf.methods.parts import losses, teacher_start
from oekd_tf.methods.parts.arguments import check_weight
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.progress import Progress
from oekd_tf.methods.pcl import PCL

# Epochs of the paper's training, of which the ensemble's share falls in the first ten.
_EPOCHS = 300
# Below it the share of the ensemble is left out, as in the authors' code.
_LEAST = 0.01
# Of a mean teacher's initial values, what a short training may leave.
_LEFT = 1e-3
_DECAY = 0.999


@keras.saving.register_keras_serializable("oekd_tf")
class DKEL(PCL):
    """Peer collaborative learning whose mean teachers are independent, and at first an ensemble.

    Mean teachers that are copies of the students know little that these do not, and training may
    collapse. So they begin at other random values, are trained for a few batches by themselves,
    and then follow as moving averages with a decay d that is the same from the first step. Their
    part of the loss is at first the divergence from the mean of their logits, then the mean of the
    divergences from each:

    ε(e) KL(mean_{j≠i} z̄_j ‖ z_i) + (1 − ε(e)) · mean_{j≠i} KL(z̄_j ‖ z_i),  ε(e) = exp(−0.5 e)

    and all else is as in `PCL`, with a weight of 0.1. e is in epochs of a training of 300: in
    shorter ones ε falls as much faster.

    As published, the averages are overwritten by the students in the first step, and the ramp
    gives a weight of 0 until epoch 80: neither teacher is then what it is meant to be. Here both
    are as the paper's abstract has them.

    Args:
        temperature: T, above 0.
        label_weight: Weight of the students' cross-entropy with the labels, at least 0.
        distillation_weight: Weight of both divergences, at least 0.
        ema_decay: d, above 0 and below 1. None is 0.999, or in a training of fewer than 6,905
            steps what leaves a thousandth of the initial values at its end.
        decaying_ensemble: k in ε(e) = exp(−k e), at least 0.
        initial_batches: Number of batches that mean teachers are trained on before the first step,
            by `fit`; at least 0.
        initial_rate: Their learning rate, as a share of the ensemble's.
        **kwargs: Others of `PCL`, `Distillation` and `Method`.

    Raises:
        ValueError: An argument breaks its rule above, or the ensemble has a single student.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     backbone, (32, 32, 3), num_classes=10, method="dkel")

    Reference:
        Shao, Chen, "Decoupled Knowledge with Ensemble Learning for Online Distillation", arXiv
        2312.11218, and the authors' code.
    """

    title = "decoupled knowledge with ensemble learning"
    reference = "https://arxiv.org/abs/2312.11218"
    independent = True

    def __init__(
        self,
        temperature: float = 3.0,
        label_weight: float = 1.0,
        distillation_weight: float = 0.1,
        *,
        ema_decay: float | None = None,
        decaying_ensemble: float = 0.5,
        initial_batches: int = 2,
        initial_rate: float = 0.01,
        **kwargs: Any,
    ):
        super().__init__(
            temperature, label_weight, distillation_weight, ema_decay=ema_decay, **kwargs
        )
        self.decaying_ensemble = check_weight("decaying_ensemble", decaying_ensemble)
        whole = isinstance(initial_batches, int) and not isinstance(initial_batches, bool)
        if not whole or initial_batches < 0:
            raise ValueError(
                f"initial_batches must be a whole number of at least 0. Received: {initial_batches}"
            )
        self.initial_batches = initial_batches
        self.initial_rate = check_weight("initial_rate", initial_rate)

    def _check_decay(self) -> None:
        """Without a decay the length of the training gives one."""

    def average_decay(self, progress: Progress) -> float | Tensor:
        if self.ema_decay is not None:
            return self.ema_decay
        if not (progress.steps_per_epoch and progress.epochs):
            return _DECAY
        return min(_DECAY, _LEFT ** (1 / (progress.steps_per_epoch * progress.epochs)))

    def ensemble_share(self, progress: Progress) -> float | Tensor:
        """ε, the share of the divergence from the mean of the mean teachers.

        Args:
            progress: How far training has come.

        Returns:
            From 1 to 0; 0 in evaluation.
        """
        if progress.finished:
            return 0.0
        share = ops.exp(-self.decaying_ensemble * _EPOCHS * progress.fraction)
        return ops.where(share > _LEAST, share, 0.0)

    def distance_from_means(self, batch: Batch, logits: Tensor, means: Tensor) -> Tensor:
        each = super().distance_from_means(batch, logits, means)
        if batch.progress.finished:
            return each
        others = losses.mean_of_others(means)
        together = ops.sum(self.divergence_from(others, logits, batch), axis=0)
        share = self.ensemble_share(batch.progress)
        return share * together + (1.0 - share) * each

    def before_training(self, ensemble: keras.Model, arguments: dict[str, Any]) -> None:
        if self.initial_batches and self.teachers != "ensemble":
            assert self.moving_averages is not None, "The ensemble makes them"
            rate = self.initial_rate * float(as_array(ensemble.optimizer.learning_rate))
            teacher_start.train(
                self.moving_averages, ensemble, arguments, self.initial_batches, rate
            )
