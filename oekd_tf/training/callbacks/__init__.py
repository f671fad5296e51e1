"""Keras callbacks for training an ensemble, also in user code."""

from oekd_tf.core.errors import NonFiniteLossError
from oekd_tf.models.stop_on_nan import StopOnNan
from oekd_tf.training.callbacks.best_epoch import BestEpoch
from oekd_tf.training.callbacks.checkpoints import Checkpoints
from oekd_tf.training.callbacks.frozen_stem import FrozenStem
from oekd_tf.training.callbacks.metrics_csv import MetricsCsv
from oekd_tf.training.callbacks.preemption import Preempted, Preemption
from oekd_tf.training.callbacks.progress import Progress
from oekd_tf.training.callbacks.pseudo_teacher_first import PseudoTeacherFirst
from oekd_tf.training.callbacks.rest_of_epoch import RestOfEpoch
from oekd_tf.training.callbacks.tensorboard import TensorBoard

__all__ = [
    "BestEpoch",
    "Checkpoints",
    "FrozenStem",
    "MetricsCsv",
    "NonFiniteLossError",
    "Preempted",
    "Preemption",
    "Progress",
    "PseudoTeacherFirst",
    "RestOfEpoch",
    "StopOnNan",
    "TensorBoard",
]
