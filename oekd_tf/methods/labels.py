"""Learning from the labels alone."""

from typing import Any

import keras
from keras import ops

from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts.arguments import check_weight
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.method import Method
from oekd_tf.methods.parts.progress import Progress


@keras.saving.register_keras_serializable("oekd_tf")
class Labels(Method):
    """Every student follows the labels; students share at most the stem.

    What an ensemble gains by being trained at once, without any distillation.

    Args:
        label_weight: Weight of the cross-entropy, above 0.
        **kwargs: Others of `Method`, such as `stem_gradient`.

    Raises:
        ValueError: An argument breaks its rule above.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     backbone, (32, 32, 3), num_classes=10, method="labels")
    """

    title = "labels only"

    def __init__(self, label_weight: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.label_weight = check_weight("label_weight", label_weight)
        if not self.label_weight:
            raise ValueError(
                "label_weight must be above 0: there is nothing else to learn from. Received: "
                f"{label_weight}"
            )

    def loss_weights(self, progress: Progress) -> dict[str, float | Tensor]:
        del progress
        return {"label_loss": self.label_weight}

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        return {"label_loss": ops.sum(batch.label_loss(ops.stack(list(batch.logits))), axis=0)}
