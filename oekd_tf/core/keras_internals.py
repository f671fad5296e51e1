"""Names of Keras that are not public, all in one place.

Each function here stands for one private name; `tests/core/test_keras_internals.py` has a test for
each, so that a new release of Keras is known to fit, or not, before anything else fails.
"""

from collections.abc import Callable
from typing import Any

import keras


class BuiltModel:
    """A mixin for models that are built in their constructor.

    Keras reads a batch before training to find out whether a model is built. That costs a batch,
    and fails where the batch is one of several hosts
    (https://github.com/keras-team/keras/issues/20585).
    """

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        del data_batch
        self.before_first_step(getattr(iterator, "num_batches", None))

    def before_first_step(self, steps_per_epoch: int | None) -> None:
        """Called by `fit` and `evaluate` before anything is traced.

        Args:
            steps_per_epoch: Number of batches of the data; None where it is not known.
        """


def symbolic_build(
    model: keras.Model, images: keras.KerasTensor, labels: keras.KerasTensor
) -> None:
    """Builds a model's loss and metrics from shapes instead of a batch."""
    model._symbolic_build(data_batch=(images, labels))


def loss_tracker(model: keras.Model) -> keras.Metric:
    """The mean of the loss that a compiled model keeps."""
    return model._loss_tracker


def variable_index(optimizer: keras.optimizers.Optimizer, variable: Any) -> int:
    """Where an optimizer keeps what belongs to a variable."""
    return optimizer._get_variable_index(variable)


def clip_gradients(optimizer: keras.optimizers.Optimizer, gradients: list) -> list:
    """Gradients as an optimizer's own clipping leaves them."""
    return optimizer._clip_gradients(gradients)


def run_through_graph(
    model: keras.Model, tensor: Any, operation_fn: Callable[[keras.Operation], Callable]
) -> Any:
    """A functional model's outputs on a tensor, each of its operations replaced by another."""
    return model._run_through_graph(tensor, operation_fn=operation_fn)


def inbound_nodes(operation: keras.Operation) -> list:
    """The calls of an operation in functional models."""
    return operation._inbound_nodes


def made_by(tensor: keras.KerasTensor) -> keras.Operation:
    """The operation whose output a symbolic tensor is."""
    return tensor._keras_history.operation
