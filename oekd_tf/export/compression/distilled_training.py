"""Trains tf_keras networks on labels and on a teacher's soft targets, all at once."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
import tf_keras

from oekd_tf.methods.parts import losses
from oekd_tf.methods.parts.metrics import label_accuracy


class DistilledTraining(tf_keras.Model):
    """Several networks that learn the same batches from labels and from one teacher.

    Their losses are summed; no network's gradient reaches another's weights, so that each learns
    as it would alone. The teacher's logits are computed once a batch.

    Args:
        networks: tf_keras models from raw images to logits.
        teacher: Function from a batch of raw images to logits of shape (batch, classes).
        temperature: Temperature T of the distillation loss.
        label_weight: Weight α of the labels' cross-entropy.
        distillation_weight: Weight γ of the divergence from the teacher.

    Example:
        >>> training = DistilledTraining(twins, teacher)
        >>> training.compile(tf_keras.optimizers.Adam(1e-4))
        >>> training.fit(train, steps_per_epoch=100)
    """

    def __init__(
        self,
        networks: Sequence[tf_keras.Model],
        teacher: Callable[[tf.Tensor], tf.Tensor],
        temperature: float = 2.0,
        label_weight: float = 0.7,
        distillation_weight: float = 0.15,
    ):
        super().__init__()
        self.networks = list(networks)
        self.teacher = teacher
        self.temperature = temperature
        self.label_weight = label_weight
        self.distillation_weight = distillation_weight
        self.mean_loss = tf_keras.metrics.Mean("loss")
        self.accuracies = [tf_keras.metrics.Mean(f"{n.name}_accuracy") for n in self.networks]

    @property
    def metrics(self) -> list[Any]:
        return [self.mean_loss, *self.accuracies]

    def train_step(self, data: tuple) -> dict[str, tf.Tensor]:
        images, labels = data
        images = tf.cast(images, tf.float32)
        target = tf.stop_gradient(self.teacher(images))
        variables = self.trainable_variables
        with tf.GradientTape() as tape:
            # One by one in inference order: the networks share nothing.
            logits = [network(images, training=True) for network in self.networks]
            stacked = tf.stack(logits)
            label = tf.reduce_mean(losses.label_loss(labels, stacked), -1)
            soft = tf.reduce_mean(losses.distillation_loss(target, stacked, self.temperature), -1)
            loss = tf.reduce_sum(self.label_weight * label + self.distillation_weight * soft)
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        self.mean_loss.update_state(loss)
        right = label_accuracy(labels, stacked)
        for metric, values in zip(self.accuracies, tf.unstack(right), strict=True):
            metric.update_state(values)
        return {metric.name: metric.result() for metric in self.metrics}


def teacher_of(students: Any) -> Callable[[tf.Tensor], tf.Tensor]:
    """The ensemble teacher: the mean of the logits of all students.

    Args:
        students: An `OnlineEnsemble`, whose teacher weights count, a list of students, one
            network, or any function from images to logits.

    Returns:
        Function from raw images to logits of shape (batch, classes).

    Example:
        >>> teacher_of(ensemble)(images).shape
    """
    if hasattr(students, "students"):
        return lambda images: students(images, training=False)["teacher"]
    if isinstance(students, keras.Model):
        # In a function: an attribute of a tf_keras model must not be a Keras 3 model.
        return lambda images: students(images, training=False)
    if callable(students):
        return students

    def teacher(images: tf.Tensor) -> tf.Tensor:
        return losses.ensemble_logits(
            tf.stack([student(images, training=False) for student in students])
        )

    return teacher
