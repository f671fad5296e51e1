"""A training step under JAX that changes nothing where its numbers are not finite."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from oekd_tf.core.choices import LEAST_LOSS_SCALE
from oekd_tf.core.types import Tensor


def finite_step(model: keras.Model, step: Callable[..., tuple], state: tuple, data: Any) -> tuple:
    """One stateless step, undone where a loss or a gradient is NaN or infinite.

    JAX cannot raise within a compiled step. Instead weights, statistics and the optimizer's
    variables stay as they are, and the loss is logged as NaN from then to the end of the epoch,
    with which `StopOnNan` fails. A step that a loss scale skips changes nothing but the scale.

    Args:
        model: The compiled model.
        step: Its stateless training step.
        state: Trainable, non-trainable, the optimizer's and the metrics' variables.
        data: The batch.

    Returns:
        Logs and the new state.
    """
    logs, (trainable, non_trainable, optimizer, metrics) = step(state, data)
    finite = ops.all(ops.isfinite(ops.stack([ops.cast(v, "float32") for v in logs.values()])))
    if isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer):
        done = _value(model, "iterations", optimizer) > _value(model, "iterations", state[2])
        finite &= done | (_value(model, "dynamic_scale", state[2]) > LEAST_LOSS_SCALE)
        applied = finite & done
    else:
        # An update by NaN or inf leaves NaN or inf.
        sums = [ops.sum(ops.cast(value, "float32")) for value in trainable]
        finite &= ops.all(ops.isfinite(ops.stack(sums)))
        applied = finite

    def kept(condition: Tensor, new: list, old: list) -> list:
        return [ops.where(condition, n, o) for n, o in zip(new, old, strict=True)]

    nan = float("nan")
    # The total of the mean loss, with which Keras's metrics begin.
    metrics = [ops.where(finite, metrics[0], ops.cast(nan, metrics[0].dtype)), *metrics[1:]]
    logs = {**logs, "loss": ops.where(finite, logs["loss"], nan)}
    return logs, (
        kept(applied, trainable, state[0]),
        kept(applied, non_trainable, state[1]),
        kept(finite, optimizer, state[2]),
        metrics,
    )


def _value(model: keras.Model, name: str, optimizer_variables: list) -> Tensor:
    """The value of an optimizer's variable in a state."""
    mapping = list(zip(model.optimizer.variables, optimizer_variables, strict=True))
    with keras.StatelessScope(state_mapping=mapping):
        return ops.convert_to_tensor(getattr(model.optimizer, name))
