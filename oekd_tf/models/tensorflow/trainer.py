"""The training and test step of an ensemble under TensorFlow and `tf.distribute`."""

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from oekd_tf.models.distributed.strategy import reducible
from oekd_tf.models.stored_logits import split_labels
from oekd_tf.models.tensorflow import batch_checks
from oekd_tf.models.tensorflow.fused_batch_norm import fuse_batch_norm
from oekd_tf.models.tensorflow.strided_convolution import subsample_first
from oekd_tf.models.trained_ensemble import TrainedEnsemble

# Number of validation pictures that are looked at before training.
_FIRST = 32


class TensorFlowTrainer(TrainedEnsemble):
    """What `OnlineEnsemble` does on Keras's TensorFlow backend; a mixin before `keras.Model`."""

    # Whether the next batch to predict is the first of a `predict`.
    _predicts_first = False

    def initial_weights(self) -> AbstractContextManager:
        """A context in which weights are made: nothing that TensorFlow needs."""
        return contextlib.nullcontext()

    def prepare_students(self) -> None:
        """Makes the students' layers compute with fused kernels, and safely."""
        for student in self.students:
            fuse_batch_norm(student)
            subsample_first(student)

    def choose_jit_compile(self, asked: bool | str) -> bool | str:
        """Whether to compile a step with XLA: with "auto" only on an accelerator."""
        return False if asked == "auto" and not has_accelerator() else asked

    def asserts_finite(self) -> bool:
        """Whether a step asserts that its losses are finite, which XLA drops."""
        return not self.jit_compile

    def steps_done(self) -> Any:
        """Steps of the optimizer so far."""
        return self.optimizer.iterations

    def make_train_function(self, force: bool = False) -> Any:
        if self.train_function is None or force:
            super().make_train_function(force=force)
            self.train_function = batch_checks.with_clear_errors(
                self.train_function, self, training=True
            )
        return self.train_function

    def make_test_function(self, force: bool = False) -> Any:
        if self.test_function is None or force:
            super().make_test_function(force=force)
            self.test_function = batch_checks.with_clear_errors(
                self.test_function, self, training=False
            )
        return self.test_function

    def check_arrays(self, labels: Any, validation_data: Any) -> None:
        """Refuses arrays of pictures scaled to 0 and 1 before an epoch is trained."""
        # Labels are checked within the step.
        del labels
        if isinstance(validation_data, tuple | list):
            batch_checks.check_predicted(validation_data[0][:_FIRST], "in validation_data")

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Outputs of all students; arguments are those of `keras.Model.predict`."""
        self._predicts_first = True
        return super().predict(*args, **kwargs)

    def make_predict_function(self, force: bool = False) -> Any:
        if self.predict_function is None or force:
            super().make_predict_function(force=force)
            self.predict_function = self._checking_first(self.predict_function)
        return self.predict_function

    def _checking_first(self, function: Any) -> Any:
        def checked(data: Any) -> Any:
            if self._predicts_first:
                self._predicts_first = False
                for own in self.distribute_strategy.experimental_local_results(data[0]):
                    batch_checks.check_predicted(keras.utils.unpack_x_y_sample_weight(own)[0])
            return function(data)

        return checked

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One gradient step on one replica's share of a batch.

        Args:
            data: (images, labels) or (images, labels, sample_weight).

        Returns:
            The running means of all losses and accuracies.

        Raises:
            ValueError: The images' shape or type is wrong. Wrong values fail an assertion, before
                any variable of the network has changed; see `batch_checks`.
        """
        images, labels, sample_weight, stored = self._checked(data, training=True)
        # With a scaled loss gradients overflow at times; its optimizer skips such a step.
        scales = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        if self.overlay is not None:
            images = self.overlay.on(images, labels, self._progress(training=True))
        with tf.GradientTape() as tape:
            # Holds back moving statistics, which a step that is refused must leave as they are.
            with keras.StatelessScope(initialize_variables=False) as forward:
                outputs = self(images, training=True, with_parts=True)
                terms = self.loss_terms(
                    labels, outputs, sample_weight, images=images, training=True, stored=stored
                )
            terms = batch_checks.check_terms(terms)
            loss = self.weigh(terms, tf.shape(images)[0], training=True)
            scaled = self.optimizer.scale_loss(loss * _share_of_batch(images))
        variables = self.trained_variables
        gradients = tape.gradient(scaled, variables)
        # Variables outside the loss (adaptation layers without a feature loss) keep their values.
        pairs = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
        checks = batch_checks.check_gradients(
            gradients, self.optimizer.dynamic_scale if scales else None
        )
        with tf.control_dependencies(batch_checks.of_all_replicas(checks)):
            before = tf.identity(self.optimizer.iterations)
            self.optimizer.apply_gradients(pairs)
            applied = self.optimizer.iterations > before if scales else None
            _assign(forward, self.variables, applied)
        if self.method.follows_steps:
            with keras.StatelessScope(initialize_variables=False) as after:
                self.method.finish_step(self.students, self._progress(training=True))
            _assign(after, self.method.non_trainable_variables, applied)
        if self.overlay is not None:
            with keras.StatelessScope(initialize_variables=False) as after:
                self.overlay.finish_step(self._progress(training=True))
            _assign(after, self.overlay.variables, applied)
        return self._logs(loss, images, labels, outputs)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """The losses and accuracies of one replica's share of a batch; see `train_step`."""
        images, labels, sample_weight, _ = self._checked(data, training=False)
        outputs = self(images, training=False, with_parts=True)
        loss = self.compute_loss(images, labels, outputs, sample_weight, training=False)
        return self._logs(loss, images, labels, outputs)

    def _logs(self, loss: tf.Tensor, images: Any, labels: Any, outputs: dict) -> dict:
        self.metrics[0].update_state(loss, sample_weight=tf.shape(images)[0])
        logs = self.compute_metrics(images, labels, outputs)
        share = _share_of_examples(self.metrics[0])
        if share is not None:
            logs = {name: value * share for name, value in logs.items()}
        return reducible(logs)

    def _checked(self, data: Any, training: bool) -> tuple:
        images, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self.check_labels_given(labels)
        labels, stored = split_labels(labels)
        if isinstance(images, np.ndarray):  # As Keras's train_on_batch passes it in eager mode.
            images = tf.convert_to_tensor(images)
        # The loss of an evaluation is reset before its first batch.
        done = self.optimizer.iterations if training else self.metrics[0].count
        views = training and self.method.views == "students"
        if (
            self.method.plain_images
            and len(getattr(images, "shape", ())) == len(self.image_shape) + 1
        ):
            views = False
        shape = (len(self.students), *self.image_shape) if views else self.image_shape
        checks = batch_checks.check_images(
            images, shape, first=tf.equal(tf.identity(done), 0), training=training
        )
        labels = tf.convert_to_tensor(labels)
        checks += batch_checks.check_labels(labels, self.num_classes)
        with tf.control_dependencies(checks):
            return tf.identity(images), labels, sample_weight, stored


def has_accelerator() -> bool:
    """Whether TensorFlow sees a GPU or a TPU."""
    return bool(tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"))


def _assign(scope: keras.StatelessScope, variables: list, applied: Any = None) -> None:
    """Gives variables the values that they have in a scope, where the step was applied."""
    for variable in variables:
        value = scope.get_current_value(variable)
        if value is not None:
            variable.assign(value if applied is None else tf.where(applied, value, variable))


def _share_of_examples(mean: keras.metrics.Mean) -> Any:
    # Keras takes the mean of what the replicas log, each for its own examples: exact only when
    # each is weighed by how many it has had. None on one device.
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return None
    count = tf.identity(mean.count)
    everyones = context.all_reduce(tf.distribute.ReduceOp.SUM, count)
    return context.num_replicas_in_sync * count / everyones


def _share_of_batch(images: Any) -> Any:
    # The optimizer sums gradients over replicas, so each replica's mean loss counts by its share
    # of the global batch: exactly 1/replicas, but for a last batch that does not divide.
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return 1.0
    size = tf.cast(tf.shape(images)[0], tf.float32)
    return size / context.all_reduce(tf.distribute.ReduceOp.SUM, size)
