"""Wrappers of private names of Keras, all in one place.

Each function wraps one private name and has a test in `tests/core/test_keras_internals.py`, which
shows whether a new release of Keras is compatible.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras.src import backend

# Keras traverses functional graphs recursively, a few frames per layer: enough for 10,000 layers.
_RECURSION_LIMIT = 100_000


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


def monitors_blindly(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback monitors a log and leaves it to Keras which way is up."""
    return getattr(callback, "mode", None) == "auto" and hasattr(callback, "monitor_op")


def variable_index(optimizer: keras.optimizers.Optimizer, variable: Any) -> int:
    """Index of a variable in an optimizer's lists of state variables."""
    return optimizer._get_variable_index(variable)


def variable_path(optimizer: keras.optimizers.Optimizer, variable: Any) -> str:
    """Path of a variable that an optimizer updates, which may be the backend's own."""
    return optimizer._trainable_variables[variable_index(optimizer, variable)].path


def clip_gradients(optimizer: keras.optimizers.Optimizer, gradients: list) -> list:
    """Gradients after an optimizer's own clipping."""
    return optimizer._clip_gradients(gradients)


def run_through_graph(
    model: keras.Model, tensor: Any, operation_fn: Callable[[keras.Operation], Callable]
) -> Any:
    """Outputs of a functional model on a tensor, with each of its operations replaced."""
    return model._run_through_graph(tensor, operation_fn=operation_fn)


def inbound_nodes(operation: keras.Operation) -> list:
    """The calls of an operation in functional models."""
    return operation._inbound_nodes


def graph_of(model: keras.Model) -> Any:
    """The functional model that a functional or sequential one is."""
    return getattr(model, "_functional", None) or model


def nodes_in_order(model: keras.Model) -> list:
    """The calls of operations in a functional model, each after those that it depends on."""
    by_depth = model._nodes_by_depth
    nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
    return [node for node in nodes if node.operation and not node.is_input]


def made_by(tensor: keras.KerasTensor) -> keras.Operation:
    """The operation that made a symbolic tensor."""
    return tensor._keras_history.operation


@contextlib.contextmanager
def replaced_random(changes: dict[str, Callable[[Callable], Callable]]) -> Iterator[None]:
    """Changes how the backend draws random numbers, for layers that are built within.

    Args:
        changes: For names such as "uniform" a function from Keras's to the one in its place.
    """
    kept = {name: getattr(backend.random, name) for name in changes}
    for name, change in changes.items():
        setattr(backend.random, name, change(kept[name]))
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(backend.random, name, function)


@contextlib.contextmanager
def deep_recursion() -> Iterator[None]:
    """Lets Keras build, clone or run functional models of any depth."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _RECURSION_LIMIT))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


@contextlib.contextmanager
def unlocked(layer: keras.layers.Layer) -> Iterator[None]:
    """Lets a layer that is built make further variables of its own."""
    layer._tracker.unlock()
    try:
        yield
    finally:
        layer._tracker.lock()
