"""A functional model as a list of steps, models within it opened."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from oekd_tf.core import keras_internals


class Value:
    """What a step takes or gives.

    Attributes:
        shape: Its shape, the batch's dimension None.
    """

    def __init__(self, shape: tuple[int | None, ...]):
        self.shape = tuple(shape)

    @property
    def channels(self) -> int | None:
        """Size of the last dimension."""
        return self.shape[-1]


class Step(NamedTuple):
    """One call of an operation.

    Attributes:
        operation: The layer, or the operation of `keras.ops`.
        name: Its name.
        args: Positional arguments, with a `Value` for each tensor.
        kwargs: Arguments by name, likewise.
        inputs: The values among the arguments, in order.
        output: What it gives.
    """

    operation: keras.Operation
    name: str
    args: tuple
    kwargs: dict[str, Any]
    inputs: tuple[Value, ...]
    output: Value

    def run(self, operation: Callable[..., Any], values: dict[Value, Any]) -> Any:
        """Calls an operation in this one's place.

        Args:
            operation: What is called.
            values: What stands for each of `inputs`.

        Returns:
            What the call returns.
        """

        def filled(part: Any) -> Any:
            return values[part] if isinstance(part, Value) else part

        args, kwargs = keras.tree.map_structure(filled, (self.args, self.kwargs))
        return operation(*args, **kwargs)


class Tape(NamedTuple):
    """The steps of a model in an order in which they can be run.

    Attributes:
        input: The model's input.
        steps: The steps.
        output: The model's output.
    """

    input: Value
    steps: list[Step]
    output: Value

    def up_to(self, end: Value) -> "Tape":
        """The steps that a value depends on, which is then the output."""
        needed, found = {end}, []
        for step in reversed(self.steps):
            if step.output in needed:
                needed.update(step.inputs)
                found.append(step)
        return Tape(self.input, found[::-1], end)

    def cuts(self) -> list[int]:
        """Indices of the steps through whose output all paths from input to output pass."""
        position = {self.input: -1}
        last = {self.input: -1}
        for index, step in enumerate(self.steps):
            position[step.output] = index
            last[step.output] = index
            for value in step.inputs:
                last[value] = index
        found, reach = [], last[self.input]
        for index, step in enumerate(self.steps):
            if reach <= index:
                found.append(index)
            reach = max(reach, last[step.output])
        return found


def record(model: keras.Model) -> Tape:
    """The steps of a functional or sequential model.

    Args:
        model: Model with one input and one output. Models in it are opened.

    Returns:
        The steps that the output depends on.

    Raises:
        ValueError: The model is of another kind, or a layer gives several outputs.
    """
    if not _is_graph(model) or len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            "The network must be a functional or sequential keras.Model with one input and one "
            f"output. Received: {model!r}"
        )
    start = Value(tuple(model.inputs[0].shape))
    steps: list[Step] = []
    end = _open(model, start, steps)
    return Tape(start, steps, end).up_to(end)


def _is_graph(model: Any) -> bool:
    return isinstance(model, keras.Model) and bool(getattr(model, "inputs", None))


def _open(model: keras.Model, start: Value, steps: list[Step]) -> Value:
    graph = keras_internals.graph_of(model)
    values = {id(graph.inputs[0]): start}
    for node in keras_internals.nodes_in_order(graph):
        args, kwargs = node.arguments.fill_in(values)
        operation = node.operation
        inputs = tuple(v for v in keras.tree.flatten((args, kwargs)) if isinstance(v, Value))
        if len(node.outputs) != 1:
            raise ValueError(
                "Every layer must give one output. "
                f"Received: {operation.name!r}, which gives {len(node.outputs)}"
            )
        if isinstance(operation, keras.Model):
            if not _is_graph(operation) or len(operation.inputs) != 1 or len(inputs) != 1:
                raise ValueError(
                    "A network within the network must be functional or sequential, with one "
                    f"input. Received: {operation.name!r}"
                )
            output = _open(operation, inputs[0], steps)
        else:
            output = Value(tuple(node.outputs[0].shape))
            steps.append(Step(operation, operation.name, args, kwargs, inputs, output))
        values[id(node.outputs[0])] = output
    return values[id(graph.outputs[0])]
