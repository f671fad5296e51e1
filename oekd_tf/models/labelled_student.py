"""A student that is trained alone, on any backend of Keras."""

import inspect
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts import losses
from oekd_tf.models.arguments import per_class
from oekd_tf.models.directions import tell_directions
from oekd_tf.models.stop_on_nan import StopOnNan


class LabelledStudent(keras.Model):
    """A functional model whose label loss can make up for classes with few examples.

    Args:
        inputs: Inputs of the student.
        outputs: The student's logits.
        name: Name of the student.

    Example:
        >>> alone = LabelledStudent(student.inputs, student.outputs[0], name=student.name)
        >>> alone.balance(class_weight=oekd_tf.classes.balanced_weights(counts))
        >>> alone.compile("adam", loss=oekd_tf.losses.label_loss)
    """

    _class_weight: Any = None
    _logit_adjustment: Any = None

    def balance(
        self,
        class_weight: Sequence[float] | None = None,
        logit_adjustment: Sequence[float] | None = None,
    ) -> None:
        """Weighs and adjusts the loss in training; to be called before `fit`.

        Neither is saved with the student, whose logits stay as they are.

        Args:
            class_weight: As of `OnlineEnsemble`.
            logit_adjustment: As of `OnlineEnsemble`.

        Raises:
            ValueError: There is not one number a class.
        """
        classes = self.output_shape[-1]
        for name, values in (
            ("class_weight", class_weight), ("logit_adjustment", logit_adjustment)
        ):  # fmt: skip
            found = per_class(values, classes, name)
            setattr(self, f"_{name}", None if found is None else np.array(found, np.float32))

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Trains the student; arguments are those of `keras.Model.fit`.

        Raises:
            NonFiniteLossError: A loss became NaN or infinite.
        """
        bound = inspect.signature(super().fit).bind(*args, **kwargs)
        bound.apply_defaults()
        bound.arguments["callbacks"] = StopOnNan.added(bound.arguments["callbacks"])
        tell_directions(bound.arguments.get("callbacks"), ("loss", "accuracy"))
        return super().fit(*bound.args, **bound.kwargs)

    def train_step(self, *args: Any) -> Any:
        """Keras's step; one that a loss scale skips changes no statistics either."""
        if keras.backend.backend() == "jax":
            from oekd_tf.models.jax.finite_step import finite_step

            return finite_step(self, super().train_step, *args)
        if not isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            return super().train_step(*args)
        ops = keras.ops
        before = [ops.copy(v) for v in self.non_trainable_variables]
        done = ops.copy(self.optimizer.iterations)
        logs = super().train_step(*args)
        applied = ops.greater(self.optimizer.iterations, done)
        for variable, old in zip(self.non_trainable_variables, before, strict=True):
            variable.assign(ops.where(applied, variable, old))
        return logs

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        if training and self._logit_adjustment is not None:
            y_pred = y_pred + self._logit_adjustment
        if training and self._class_weight is not None:
            weights = losses.label_weights(y, self._class_weight)
            if sample_weight is not None:
                own = keras.ops.cast(sample_weight, weights.dtype)
                weights = weights * keras.ops.reshape(own, (-1,))
            sample_weight = weights
        return super().compute_loss(x, y, y_pred, sample_weight, training)
