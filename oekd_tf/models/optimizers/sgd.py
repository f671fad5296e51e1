"""SGD with momentum, L2 regularisation and a fused update under TensorFlow."""

from collections.abc import Mapping
from typing import Any

import keras

from oekd_tf.core.keras_internals import variable_index
from oekd_tf.models.optimizers.clipping import clip_over_replicas
from oekd_tf.models.optimizers.l2 import add_l2, check_l2
from oekd_tf.models.optimizers.rates import check_known, check_rates, rate_of


@keras.saving.register_keras_serializable("oekd_tf")
class SGD(keras.optimizers.SGD):
    """Keras's SGD; under TensorFlow each variable's update is one operation.

    Args:
        learning_rate: Learning rate, or a `keras.optimizers.schedules.LearningRateSchedule`.
        momentum: Momentum, from 0 to 1.
        nesterov: Whether to use Nesterov's momentum.
        l2: Coefficient of the L2 term that is added to kernels' gradients.
        rates: Factors of the learning rate by path of a variable, 1 for those that are left out;
            `OnlineEnsemble.pretrained_rates` gives them for what was trained before.
        name: Name of the optimizer.
        **kwargs: Other arguments of `keras.optimizers.SGD`, such as `weight_decay` and `clipnorm`.

    Raises:
        ValueError: `l2` is below 0, or the momentum is not within 0 and 1.

    Example:
        >>> ensemble.compile(optimizer=oekd_tf.optimizers.SGD(0.1, momentum=0.9, l2=1e-4))
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        *,
        l2: float = 0.0,
        rates: Mapping[str, float] | None = None,
        name: str = "sgd",
        **kwargs: Any,
    ):
        super().__init__(learning_rate, float(momentum), nesterov, name=name, **kwargs)
        self.l2 = check_l2(l2)
        self.rates = check_rates(rates)

    def build(self, variables: list) -> None:
        check_known(self.rates, variables)
        super().build(variables)

    def apply(self, grads: list, trainable_variables: list | None = None) -> None:
        super().apply(clip_over_replicas(self, grads), trainable_variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        gradient = add_l2(gradient, variable, self.l2)
        learning_rate = rate_of(self, variable, learning_rate, self.rates)
        if keras.backend.backend() != "tensorflow" or not self.momentum:
            super().update_step(gradient, variable, learning_rate)
            return
        from oekd_tf.models.optimizers.tensorflow_kernels import fused_momentum

        momentum = self.momentums[variable_index(self, variable)]
        fused_momentum(
            gradient, variable, momentum, learning_rate, self.momentum, nesterov=self.nesterov
        )

    def get_config(self) -> dict[str, Any]:
        own = {"rates": dict(self.rates)} if self.rates else {}
        return {**super().get_config(), "l2": self.l2, **own}
