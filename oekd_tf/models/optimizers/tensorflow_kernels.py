"""TensorFlow's fused optimizer kernels, applied to Keras variables."""

from typing import Any

import keras
import tensorflow as tf


class FusedAdam:
    """One step of Adam with one kernel per variable; the formula is Keras's.

    Args:
        iterations: Number of steps so far.
        beta_1: Decay rate of the first moment.
        beta_2: Decay rate of the second moment.
        epsilon: Constant added to the root of the second moment.
    """

    def __init__(self, iterations: Any, beta_1: float, beta_2: float, epsilon: float):
        step = tf.cast(_tensorflow_variable(iterations) + 1, tf.float32)
        self.beta_1 = tf.constant(beta_1)
        self.beta_2 = tf.constant(beta_2)
        self.epsilon = tf.constant(epsilon)
        self.beta_1_power = tf.pow(self.beta_1, step)
        self.beta_2_power = tf.pow(self.beta_2, step)

    def update(
        self, gradient: Any, variable: Any, momentum: Any, velocity: Any, learning_rate: Any
    ) -> None:
        """Updates a variable and its two moments in place.

        Args:
            gradient: Gradient of the loss with respect to the variable.
            variable: The variable.
            momentum: First moment of the variable.
            velocity: Second moment of the variable.
            learning_rate: Learning rate, a scalar.
        """
        variable = _tensorflow_variable(variable)
        scalars = (
            self.beta_1_power,
            self.beta_2_power,
            learning_rate,
            self.beta_1,
            self.beta_2,
            self.epsilon,
        )
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=_tensorflow_variable(momentum).handle,
            v=_tensorflow_variable(velocity).handle,
            **dict(
                zip(
                    ("beta1_power", "beta2_power", "lr", "beta1", "beta2", "epsilon"),
                    (_cast(scalar, variable.dtype) for scalar in scalars),
                    strict=True,
                )
            ),
            grad=_cast(gradient, variable.dtype),
        )


def fused_momentum(
    gradient: Any,
    variable: Any,
    velocity: Any,
    learning_rate: Any,
    momentum: float,
    *,
    nesterov: bool,
) -> None:
    """Updates a variable and its velocity in place by one step of SGD with momentum.

    Args:
        gradient: Gradient of the loss with respect to the variable.
        variable: The variable.
        velocity: Velocity of the variable.
        learning_rate: Learning rate, a scalar.
        momentum: Momentum, from 0 to 1.
        nesterov: Whether to use Nesterov's momentum.
    """
    variable = _tensorflow_variable(variable)
    tf.raw_ops.ResourceApplyKerasMomentum(
        var=variable.handle,
        accum=_tensorflow_variable(velocity).handle,
        lr=_cast(learning_rate, variable.dtype),
        grad=_cast(gradient, variable.dtype),
        momentum=momentum,
        use_nesterov=nesterov,
    )


def _tensorflow_variable(variable: Any) -> Any:
    return variable.value if isinstance(variable, keras.Variable) else variable


def _cast(value: Any, dtype: Any) -> Any:
    # A cast to the same type would be a graph node for each of hundreds of variables.
    return value if getattr(value, "dtype", None) == dtype else tf.cast(value, dtype)
