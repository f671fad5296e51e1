"""The training and test step under TensorFlow and `tf.distribute`."""

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

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
    """
    images, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    with tf.GradientTape() as tape:
        outputs = ensemble(images, training=True, with_blocks=True)
        loss = ensemble.compute_loss(images, labels, outputs, sample_weight)
        scaled = ensemble.optimizer.scale_loss(loss * _share_of_batch(images))
    variables = _trained_variables(ensemble)
    gradients = tape.gradient(scaled, variables)
    # Variables outside the loss (adaptation layers without a feature loss) keep their values.
    pairs = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
    ensemble.optimizer.apply_gradients(pairs)
    return _logs(ensemble, loss, images, labels, outputs)


def test_step(ensemble: "OnlineEnsemble", data: Any) -> dict[str, tf.Tensor]:
    """The losses and accuracies of one replica's share of a batch; see `train_step`."""
    images, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    outputs = ensemble(images, training=False, with_blocks=True)
    loss = ensemble.compute_loss(images, labels, outputs, sample_weight, training=False)
    return _logs(ensemble, loss, images, labels, outputs)


def has_accelerator() -> bool:
    """Whether TensorFlow sees a GPU or a TPU."""
    return bool(tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"))


def _logs(
    ensemble: "OnlineEnsemble", loss: tf.Tensor, images: Any, labels: Any, outputs: dict
) -> dict[str, tf.Tensor]:
    ensemble.metrics[0].update_state(loss, sample_weight=tf.shape(images)[0])
    return reducible(ensemble.compute_metrics(images, labels, outputs))


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


def _share_of_batch(images: Any) -> Any:
    # The optimizer sums gradients over replicas, so each replica's mean loss counts by its share
    # of the global batch: exactly 1/replicas, but for a last batch that does not divide.
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return 1.0
    size = tf.cast(tf.shape(images)[0], tf.float32)
    return size / context.all_reduce(tf.distribute.ReduceOp.SUM, size)


def _trained_variables(ensemble: "OnlineEnsemble") -> list[Any]:
    if not ensemble.pseudo_teacher_only:
        return ensemble.trainable_variables
    return ensemble.students[0].trainable_variables
