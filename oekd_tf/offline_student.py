"""A student that learns from a teacher that was trained before."""

from typing import Any

import keras
import tensorflow as tf

from oekd_tf import losses
from oekd_tf.lone_student import LoneStudent

Tensor = Any


class OfflineStudent(LoneStudent):
    """A student alone under the loss α CE + γ T² KL(teacher ‖ student), the teacher fixed.

    What users do without an online ensemble; its teacher's training has to be counted beside it.

    Args:
        inputs: Of the student.
        outputs: Its logits.
        name: Its name.

    Example:
        >>> student = OfflineStudent(alone.inputs, alone.outputs[0], name=alone.name)
        >>> student.distil_from(teacher, temperature=2.0)
        >>> student.compile("adam", loss=oekd_tf.losses.label_loss)

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531.
    """

    def distil_from(
        self,
        teacher: keras.Model,
        *,
        temperature: float = 2.0,
        label_weight: float = 0.7,
        distillation_weight: float = 0.15,
    ) -> None:
        """Sets the teacher; to be called before `fit`.

        Args:
            teacher: From the same images to logits of the same classes.
            temperature: T, above 0.
            label_weight: α, at least 0.
            distillation_weight: γ, at least 0.

        Raises:
            ValueError: The teacher's logits have another shape.
        """
        if tuple(teacher.output_shape) != tuple(self.output_shape):
            raise ValueError(
                f"A teacher must give logits of shape {tuple(self.output_shape)}. "
                f"Received: {tuple(teacher.output_shape)}"
            )
        self.temperature = temperature
        self.label_weight = label_weight
        self.distillation_weight = distillation_weight
        # As a function, because as an attribute it would be a layer of the student.
        self._teacher_logits = lambda images: teacher(images, training=False)

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        label_loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not training:
            return label_loss
        divergence = losses.distillation_loss(self._teacher_logits(x), y_pred, self.temperature)
        # Keras has divided the label loss by the number of replicas already.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        distillation_loss = keras.ops.mean(divergence) / replicas
        return self.label_weight * label_loss + self.distillation_weight * distillation_loss
