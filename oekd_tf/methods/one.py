"""On-the-fly native ensemble: a gate weighs the students."""

from typing import Any

import keras
from keras import layers, ops

from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts import norms
from oekd_tf.methods.parts.arguments import check_choice
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.network import Network
from oekd_tf.methods.parts.trained_teacher import TrainedTeacher

GATE_INPUTS = ("block", "stem")


@keras.saving.register_keras_serializable("oekd_tf")
class ONE(TrainedTeacher):
    """Every student follows the labels and a gated ensemble of all, which follows them too.

    z_E = Σ_i a_i z_i with a = softmax(ReLU(BN(W · GAP(h)))), for each example, and

    L = α Σ_i CE(y, z_i) + α_E CE(y, z_E) + γ w(e) Σ_i T² KL(softmax(z_E/T) ‖ softmax(z_i/T))

    with z_E detached in the divergence only: the gate learns from CE(y, z_E). w(e) is a sigmoid
    ramp over the first 0.27 of the training, the paper's 80 of 300 epochs.

    Made for branches of one width. The paper's gate sees the last stage that all branches share;
    here that is the stem, often a single convolution, so it sees the pseudo teacher's last block
    but one instead, or the stem with `gate_input="stem"`.

    Args:
        temperature: T, above 0.
        label_weight: α, weight of the students' cross-entropy with the labels, at least 0.
        distillation_weight: γ, weight of the divergence from the ensemble, at least 0.
        teacher_label_weight: α_E, weight of the ensemble's own cross-entropy, at least 0.
        gate_input: What the gate sees: "block", the pseudo teacher's last block but one, or "stem".
        distillation_schedule: w(e), as in `Distillation`; "sigmoid" if it is not given.
        **kwargs: Others of `Distillation` and `Method`, such as `schedule_share` and `divergence`.

    Raises:
        ValueError: An argument breaks its rule above.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     backbone, (32, 32, 3), num_classes=10, method="one")

    Reference:
        Lan, Zhu, Gong, "Knowledge Distillation by On-the-Fly Native Ensemble", NeurIPS 2018, arXiv
        1806.04606.
    """

    title = "on-the-fly native ensemble"
    reference = "https://arxiv.org/abs/1806.04606"
    teacher_title = "Gated ensemble of all students"

    def __init__(
        self,
        temperature: float = 3.0,
        label_weight: float = 1.0,
        distillation_weight: float = 1.0,
        *,
        gate_input: str = "block",
        **kwargs: Any,
    ):
        super().__init__(temperature, label_weight, distillation_weight, **kwargs)
        self.gate_input = check_choice("gate_input", gate_input, GATE_INPUTS)

    def build(self, network: Network) -> None:
        super().build(network)
        # Of one block there is none before the last.
        self._block = max(len(network.blocks[0]) - 2, 0)
        seen = network.stem if self.gate_input == "stem" else network.blocks[0][self._block]
        students = len(network.widths)
        self.gate = layers.Dense(students, dtype="float32", name="gate")
        self.gate.build((None, seen[-1]))
        self.gate_norm = norms.batch_norm("gate_norm")
        self.gate_norm.build((None, students))

    def shares(self, batch: Batch) -> Tensor:
        """How much each student counts.

        Args:
            batch: The batch.

        Returns:
            (batch, students); each row sums to 1.
        """
        from_stem = self.gate_input == "stem"
        seen = batch.stem[0] if from_stem else batch.blocks[0][self._block]
        pooled = ops.mean(ops.cast(seen, "float32"), axis=(1, 2))
        scores = self.gate_norm(self.gate(pooled), training=batch.training)
        return ops.softmax(ops.relu(scores), axis=-1)

    def teacher(self, batch: Batch) -> Tensor:
        return ops.einsum("bs,sbc->bc", self.shares(batch), ops.stack(list(batch.logits)))
