"""Keras's optimizers with L2 regularisation and fused TensorFlow updates."""

from oekd_tf.optimizers.adam import Adam
from oekd_tf.optimizers.by_name import get
from oekd_tf.optimizers.sgd import SGD

__all__ = ["SGD", "Adam", "get"]
