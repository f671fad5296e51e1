"""The trainer of Keras's backend, which is chosen when this module is imported."""

from typing import TYPE_CHECKING

import keras

if TYPE_CHECKING:
    from oekd_tf.models.trained_ensemble import TrainedEnsemble as Trainer
elif keras.backend.backend() == "tensorflow":
    from oekd_tf.models.tensorflow.trainer import TensorFlowTrainer as Trainer
elif keras.backend.backend() == "jax":
    from oekd_tf.models.jax.trainer import JaxTrainer as Trainer
else:
    raise ImportError(
        "Keras's backend must be tensorflow or jax. Received: KERAS_BACKEND="
        f"{keras.backend.backend()}"
    )

__all__ = ["Trainer"]
