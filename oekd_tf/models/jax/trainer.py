"""The training step of an ensemble under JAX."""

from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np
from keras import ops

from oekd_tf.core.labels import are_rows, class_indices
from oekd_tf.core.types import Tensor
from oekd_tf.models.jax.finite_step import finite_step
from oekd_tf.models.jax.initial_weights import drawn_by_size
from oekd_tf.models.trained_ensemble import TrainedEnsemble


class JaxTrainer(TrainedEnsemble):
    """Training and test steps of `OnlineEnsemble` under JAX; a mixin before `keras.Model`."""

    # Number of steps while a stateless step is traced; None otherwise.
    _steps_done: Any = None

    def initial_weights(self) -> AbstractContextManager:
        """A context in which weights are made; see `drawn_by_size`."""
        return drawn_by_size()

    def prepare_students(self) -> None:
        """Does nothing: the students' layers need no change."""

    def choose_jit_compile(self, asked: bool | str) -> bool | str:
        """Whether to compile a step: the argument itself."""
        return asked

    def check_arrays(self, labels: Any, validation_data: Any) -> None:
        """Refuses arrays of labels that are no classes, which JAX would take for others."""
        held_out = validation_data[1] if isinstance(validation_data, tuple | list) else None
        for given in (labels, held_out):
            if isinstance(given, np.ndarray) and not are_rows(given, self.num_classes):
                class_indices(given, self.num_classes)

    def asserts_finite(self) -> bool:
        """Whether a step asserts that its losses are finite: under JAX nothing can."""
        return False

    def make_train_function(self, force: bool = False) -> Any:
        _separate([*self.variables, *self.optimizer.variables])
        return super().make_train_function(force=force)

    def steps_done(self) -> Tensor:
        """Number of steps of the optimizer so far."""
        return self.optimizer.iterations if self._steps_done is None else self._steps_done

    def compute_loss_and_updates(
        self,
        trainable_variables: list,
        non_trainable_variables: list,
        metrics_variables: list,
        x: Tensor,
        y: Tensor,
        sample_weight: Tensor | None,
        training: bool = False,
        optimizer_variables: list | None = None,
    ) -> tuple:
        """The stateless loss that Keras's JAX trainer differentiates."""
        outputs, non_trainable_variables = self.stateless_call(
            trainable_variables, non_trainable_variables, x, training=training, with_parts=True
        )
        state = []
        if training:
            assert optimizer_variables is not None, "Keras passes them in training"
            state = list(zip(self.optimizer.variables, optimizer_variables, strict=True))
            with keras.StatelessScope(state_mapping=state):
                # The loss is computed in another scope, in which the optimizer's variables would
                # have their values at the time of tracing.
                self._steps_done = ops.convert_to_tensor(self.optimizer.iterations)
        try:
            loss, (trainable_variables, non_trainable_variables, metrics_variables) = (
                self.stateless_compute_loss(
                    trainable_variables,
                    non_trainable_variables,
                    metrics_variables,
                    x=x,
                    y=y,
                    y_pred=outputs,
                    sample_weight=sample_weight,
                    training=training,
                )
            )
        finally:
            self._steps_done = None
        scaled = loss
        if training:
            with keras.StatelessScope(state_mapping=state):
                scaled = self.optimizer.scale_loss(loss)
        return scaled, (loss, outputs, non_trainable_variables, metrics_variables)

    def train_step(self, state: tuple, data: Any) -> tuple:
        """One step of all students, then the method's `after_step`; see `finite_step`."""
        return finite_step(self, self._step, state, data)

    def _step(self, state: tuple, data: Any) -> tuple:
        before = state[0]
        logs, state = super().train_step(state, data)
        if self.stem_frozen:
            # JAX computes a gradient for every variable: that of L2 is not 0.
            trained = {id(variable) for variable in self.trained_variables}
            pairs = zip(self.trainable_variables, before, state[0], strict=True)
            state = ([new if id(v) in trained else old for v, old, new in pairs], *state[1:])
        if not self.method.follows_steps:
            return logs, state
        trainable, non_trainable, optimizer, metrics_variables = state
        mapping = [
            *zip(self.trainable_variables, trainable, strict=True),
            *zip(self.non_trainable_variables, non_trainable, strict=True),
            *zip(self.optimizer.variables, optimizer, strict=True),
        ]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            self.method.finish_step(self.students, self._progress(training=True))
        updated = []
        for variable, old in zip(self.non_trainable_variables, non_trainable, strict=True):
            new = scope.get_current_value(variable)
            updated.append(old if new is None else new)
        return logs, (trainable, updated, optimizer, metrics_variables)


def _separate(variables: list) -> None:
    """Gives each variable an array of its own: a compiled step takes over those that it is given.

    A variable that was assigned another's value, as a moving average at first, has the other's.
    """
    seen = set()
    for variable in variables:
        if id(variable.value) in seen:
            variable.assign(ops.copy(variable.value))
        seen.add(id(variable.value))
