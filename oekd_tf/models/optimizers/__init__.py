"""Keras's optimizers with L2 regularisation, and fused updates under TensorFlow."""

from oekd_tf.models.optimizers.adam import Adam
from oekd_tf.models.optimizers.by_name import get
from oekd_tf.models.optimizers.sgd import SGD

__all__ = ["SGD", "Adam", "get"]
