"""Students that are trained alone."""

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from oekd_tf.core.keras_internals import BuiltModel, symbolic_build
from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.method import Method
from oekd_tf.methods.parts.progress import Progress
from oekd_tf.models.distributed.strategy import reducible
from oekd_tf.models.labelled_student import LabelledStudent


class StandaloneStudent(BuiltModel, LabelledStudent):
    """A functional model that Keras's own `fit` can train on several hosts.

    Args:
        inputs: Inputs of the student.
        outputs: The student's logits.
        name: Name of the student.

    Example:
        >>> student = ensemble.students[4]
        >>> alone = StandaloneStudent(student.inputs, student.outputs[0], name=student.name)
        >>> alone.compile("adam", loss=oekd_tf.losses.label_loss)
    """

    _terms: Any = None

    def learn_by(self, method: Method) -> None:
        """Replaces the compiled loss by that of a method; to be called before `fit`.

        Args:
            method: Method that needs no other students, such as `oekd_tf.methods.Offline`, built
                for this student. It is neither saved nor checkpointed with the student.
        """
        # As a function, because as an attribute it would be a layer of the student.
        self._terms = lambda batch: (
            method.terms(_with_teacher(method, batch)),
            method.loss_weights(Progress()),
        )

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        if self._terms is None or not training:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        batch = Batch(
            images=x, labels=y, sample_weight=sample_weight, logits=[y_pred], training=True,
            stem=(), blocks=(), features=(), class_weight=self._class_weight,
            logit_adjustment=self._logit_adjustment,
        )  # fmt: skip
        terms, weights = self._terms(batch)
        loss = sum(weights[name] * keras.ops.mean(term) for name, term in terms.items())
        # Gradients are summed over replicas.
        return loss / tf.distribute.get_strategy().num_replicas_in_sync

    def train_step(self, data: Any) -> dict[str, Any]:
        return reducible(super().train_step(data))

    def test_step(self, data: Any) -> dict[str, Any]:
        return reducible(super().test_step(data))

    def before_first_step(self, steps_per_epoch: int | None) -> None:
        del steps_per_epoch
        images = keras.KerasTensor((None, *self.input_shape[1:]))
        symbolic_build(self, images, keras.KerasTensor((None,), "int32"))


def _with_teacher(method: Method, batch: Batch) -> Batch:
    return dataclasses.replace(batch, teacher=method.teacher(batch))
