"""Methods whose teacher is a mean of all students' logits, weighted by a rule."""

from collections.abc import Iterable

import keras
from keras import ops

from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts import losses, teacher_weights
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.distillation import Distillation
from oekd_tf.methods.parts.held_out import HeldOutSums
from oekd_tf.methods.parts.network import Network
from oekd_tf.methods.parts.replicas import batch_mean, whole_batch

# Rules whose weights are estimated on validation images, after each epoch.
_HELD_OUT = ("validation", "covariance")
# Of the moving average of a rule's weights, which stands for them where there are no labels.
_DECAY = 0.9


class WeightedTeacher(Distillation):
    """A teacher that is a weighted mean of all students' logits.

    A rule weighs them by how good they are, which takes labels. The teacher that is logged and
    evaluated must not know labels: it has a moving average of the weights.
    """

    @property
    def rule(self) -> str | None:
        """How students are weighed; None for weights that do not change.

        "cross_entropy", "example" and "validation": `teacher_weights.by_cross_entropy` of a batch,
        of each example, of the validation images; "best": `best_only` for each example; "better":
        `of_the_better`; "simplex": `on_the_simplex`; "covariance": `by_covariance`, of the
        validation images.
        """
        return None

    @property
    def fixed_weights(self) -> tuple[float, ...] | None:
        """Weights of the teacher without a rule; None is uniform."""
        return None

    def build(self, network: Network) -> None:
        super().build(network)
        if self.rule:
            students = len(network.widths)
            self.shares = self.add_weight(
                shape=(students,),
                initializer=keras.initializers.Constant(1 / students),
                trainable=False,
                autocast=False,
                aggregation="only_first_replica",
                name="teacher_weights",
            )
            self._held_out = HeldOutSums(_errors)

    @property
    def logged(self) -> tuple[str, ...]:
        if not self.rule or not self.built:
            return ()
        return tuple(f"teacher_weight_{n}" for n in range(1, self.shares.shape[0] + 1))

    @property
    def needs_held_out(self) -> bool:
        return self.rule in _HELD_OUT

    @property
    def follows_epochs(self) -> bool:
        return self.needs_held_out

    def teacher(self, batch: Batch) -> Tensor:
        weights = self.shares if self.rule else self.fixed_weights
        return losses.ensemble_logits(ops.stack(list(batch.logits)), weights)

    def target_of(self, mixture: Tensor, batch: Batch) -> Tensor:
        """What students follow where others than they teach, too.

        Args:
            mixture: The weighted mean of students' logits, (batch, classes) or a row for each
                student; no gradient flows into it.
            batch: The batch, with `batch.teacher`.

        Returns:
            Logits of the same shape.
        """
        del batch
        return mixture

    def weights_of(self, batch: Batch, logits: Tensor) -> Tensor:
        """How much each student counts in the targets of a batch.

        Args:
            batch: The batch, with its labels.
            logits: All students' logits, (students, batch, classes).

        Returns:
            (students,); (students, batch) with a weight for each example; or (students, students)
            with a row for each student that learns.
        """
        logits = ops.stop_gradient(logits)
        if self.rule in _HELD_OUT:
            return ops.convert_to_tensor(self.shares)
        if self.rule == "simplex":
            everyones = ops.transpose(whole_batch(ops.transpose(logits, (1, 0, 2))), (1, 0, 2))
            return teacher_weights.on_the_simplex(
                everyones, whole_batch(losses.label_probabilities(batch.labels, logits.shape[-1]))
            )
        cross_entropy = losses.label_loss(batch.labels, logits)
        if self.rule == "example":
            return teacher_weights.by_cross_entropy(cross_entropy)
        if self.rule == "best":
            return teacher_weights.best_only(cross_entropy)
        mean = batch_mean(ops.transpose(cross_entropy))
        if self.rule == "better":
            return teacher_weights.of_the_better(mean)
        return teacher_weights.by_cross_entropy(mean)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        if not self.rule:
            return super().terms(batch)
        logits = ops.stack(list(batch.logits))
        weights = self.weights_of(batch, logits)
        mixture = mixed(weights, ops.stop_gradient(logits), self.rule == "better")
        target = self.target_of(mixture, batch)
        distances = self.divergence_from(target, logits, batch)
        if self.rule == "better" and target is mixture:
            # A student that has only itself follows nobody.
            distances = distances * (1.0 - ops.diagonal(weights))[:, None]
        found = self.terms_with(ops.sum(distances, axis=0), batch, logits)
        mean = self._mean_weights(weights)
        if batch.training and not self.needs_held_out:
            self.shares.assign(_DECAY * self.shares + (1.0 - _DECAY) * mean)
        return found | {name: mean[index] for index, name in enumerate(self.logged)}

    def after_epoch(self, ensemble: keras.Model, held_out: Iterable | None) -> None:
        if self.needs_held_out:
            assert held_out is not None, "Asked for before training"
            count, cross_entropy, products = self._held_out(ensemble, held_out)
            if self.rule == "covariance":
                self.shares.assign(teacher_weights.by_covariance(products / count))
            else:
                mean = ops.convert_to_tensor(cross_entropy / count, dtype="float32")
                self.shares.assign(teacher_weights.by_cross_entropy(mean))

    def _mean_weights(self, weights: Tensor) -> Tensor:
        if len(weights.shape) == 1:
            return weights
        if self.rule == "better":
            return ops.mean(weights, axis=0)
        return batch_mean(ops.transpose(weights))


def mixed(weights: Tensor, logits: Tensor, for_each: bool = False) -> Tensor:
    """The weighted mean of students' logits.

    Args:
        weights: As `WeightedTeacher.weights_of` gives them.
        logits: (students, batch, classes).
        for_each: Whether there is a row of weights for each student.

    Returns:
        (batch, classes), or (students, batch, classes) with a row for each.
    """
    if for_each:
        return ops.einsum("ls,sbc->lbc", weights, logits)
    return ops.sum(ops.reshape(weights, (logits.shape[0], -1, 1)) * logits, axis=0)


def _errors(logits: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    """Sums over a batch: of examples, of each student's cross-entropy, of products of errors."""
    true = losses.label_probabilities(labels, logits.shape[-1])
    error = ops.softmax(logits, axis=-1) - true
    return (
        ops.sum(true),
        ops.sum(losses.label_loss(labels, logits), axis=1),
        ops.einsum("ibc,jbc->ij", error, error) / logits.shape[-1],
    )
