"""The training and test step under TensorFlow and `tf.distribute`."""

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from oekd_tf import batch_checks
from oekd_tf.distribution import spans_hosts

if TYPE_CHECKING:
    from oekd_tf.ensemble import OnlineEnsemble


def train_step(ensemble: "OnlineEnsemble", data: Any) -> dict[str, tf.Tensor]:
    """One gradient step on one replica's share of a batch.

    Args:
        ensemble: A compiled ensemble.
        data: (images, labels) or (images, labels, sample_weight).

    Returns:
        The running means of all losses and accuracies.

    Raises:
        ValueError: The images' shape or type is wrong. Wrong values fail an assertion, before
            any variable of the network has changed; see `oekd_tf.batch_checks`.
    """
    images, labels, sample_weight = _checked(ensemble, data, ensemble.optimizer.iterations)
    with tf.GradientTape() as tape:
        # Holds back moving statistics, which a step that is refused must leave as they are.
        with keras.StatelessScope(initialize_variables=False) as forward:
            outputs = ensemble(images, training=True, with_blocks=ensemble.has_feature_loss)
        loss = ensemble.compute_loss(images, labels, outputs, sample_weight)
        scaled = ensemble.optimizer.scale_loss(loss * _share_of_batch(images))
    variables = batch_checks.trained_variables(ensemble)
    gradients = tape.gradient(scaled, variables)
    # Variables outside the loss (adaptation layers without a feature loss) keep their values.
    pairs = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
    # With a scaled loss gradients overflow at times; its optimizer skips such a step.
    scales = isinstance(ensemble.optimizer, keras.optimizers.LossScaleOptimizer)
    with tf.control_dependencies([] if scales else batch_checks.check_gradients(gradients)):
        for variable in ensemble.variables:
            value = forward.get_current_value(variable)
            if value is not None:
                variable.assign(value)
        ensemble.optimizer.apply_gradients(pairs)
    return _logs(ensemble, loss, images, labels, outputs)


def test_step(ensemble: "OnlineEnsemble", data: Any) -> dict[str, tf.Tensor]:
    """The losses and accuracies of one replica's share of a batch; see `train_step`."""
    images, labels, sample_weight = _checked(ensemble, data)
    outputs = ensemble(images, training=False, with_blocks=ensemble.has_feature_loss)
    loss = ensemble.compute_loss(images, labels, outputs, sample_weight, training=False)
    return _logs(ensemble, loss, images, labels, outputs)


def has_accelerator() -> bool:
    """Whether TensorFlow sees a GPU or a TPU."""
    return bool(tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"))


def _logs(
    ensemble: "OnlineEnsemble", loss: tf.Tensor, images: Any, labels: Any, outputs: dict
) -> dict[str, tf.Tensor]:
    ensemble.metrics[0].update_state(loss, sample_weight=tf.shape(images)[0])
    logs = ensemble.compute_metrics(images, labels, outputs)
    share = _share_of_examples(ensemble.metrics[0])
    if share is not None:
        logs = {name: value * share for name, value in logs.items()}
    return reducible(logs)


def reducible(logs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """A step's logs in a shape that Keras can reduce.

    Over several hosts Keras takes the mean over the first axis, which a scalar does not have.

    Args:
        logs: Scalars.

    Returns:
        The same, or under a strategy of several hosts vectors of one element.
    """
    if not spans_hosts():
        return logs
    return {name: tf.reshape(value, (1,)) for name, value in logs.items()}


def _checked(ensemble: "OnlineEnsemble", data: Any, iterations: Any = None) -> tuple:
    images, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if isinstance(images, np.ndarray):  # As Keras's train_on_batch passes it on in eager mode.
        images = tf.convert_to_tensor(images)
    checks = batch_checks.check_images(images, ensemble.image_shape, iterations)
    if labels is not None:
        labels = tf.convert_to_tensor(labels)
        checks += batch_checks.check_labels(labels, ensemble.num_classes)
    with tf.control_dependencies(checks):
        return tf.identity(images), labels, sample_weight


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
