"""Adam with L2 regularisation and a fused update under TensorFlow."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras

from oekd_tf.core.keras_internals import variable_index
from oekd_tf.models.optimizers.clipping import clip_over_replicas
from oekd_tf.models.optimizers.l2 import add_l2, check_l2
from oekd_tf.models.optimizers.rates import check_known, check_rates, rate_of

if TYPE_CHECKING:
    from oekd_tf.models.optimizers.tensorflow_kernels import FusedAdam


@keras.saving.register_keras_serializable("oekd_tf")
class Adam(keras.optimizers.Adam):
    """Keras's Adam; under TensorFlow each variable's update is one operation instead of 35.

    An ensemble has hundreds of variables: with Keras's own Adam the optimizer takes half of the
    training graph, and half of the time to the first step. With `weight_decay` it is AdamW.

    Args:
        learning_rate: Learning rate, or a `keras.optimizers.schedules.LearningRateSchedule`.
        beta_1: Decay rate of the first moment.
        beta_2: Decay rate of the second moment.
        epsilon: Constant added to the root of the second moment.
        l2: Coefficient of the L2 term that is added to kernels' gradients.
        rates: Factors of the learning rate by path of a variable, 1 for those that are left out;
            `OnlineEnsemble.pretrained_rates` gives them for what was trained before.
        name: Name of the optimizer.
        **kwargs: Other arguments of `keras.optimizers.Adam`, such as `weight_decay` and `clipnorm`.

    Raises:
        ValueError: `l2` is below 0.

    Example:
        >>> ensemble.compile(optimizer=oekd_tf.optimizers.Adam(1e-3, l2=1e-5))

    Reference:
        Kingma and Ba, arXiv 1412.6980; Loshchilov and Hutter, arXiv 1711.05101 (AdamW).
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        *,
        l2: float = 0.0,
        rates: Mapping[str, float] | None = None,
        name: str = "adam",
        **kwargs: Any,
    ):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, name=name, **kwargs)
        self.l2 = check_l2(l2)
        self.rates = check_rates(rates)
        self._fused: FusedAdam | None = None

    def build(self, variables: list) -> None:
        check_known(self.rates, variables)
        super().build(variables)

    def apply(self, grads: list, trainable_variables: list | None = None) -> None:
        if keras.backend.backend() == "tensorflow" and not self.amsgrad:
            from oekd_tf.models.optimizers.tensorflow_kernels import FusedAdam

            # All variables of the step share one set of scalars.
            self._fused = FusedAdam(self.iterations, self.beta_1, self.beta_2, self.epsilon)
        try:
            super().apply(clip_over_replicas(self, grads), trainable_variables)
        finally:
            self._fused = None

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        gradient = add_l2(gradient, variable, self.l2)
        learning_rate = rate_of(self, variable, learning_rate, self.rates)
        if self._fused is None:
            super().update_step(gradient, variable, learning_rate)
            return
        index = variable_index(self, variable)
        self._fused.update(
            gradient, variable, self._momentums[index], self._velocities[index], learning_rate
        )

    def get_config(self) -> dict[str, Any]:
        own = {"rates": dict(self.rates)} if self.rates else {}
        return {**super().get_config(), "l2": self.l2, **own}
