"""Online distillation with diverse peers: an attention gives each a target of its own."""

from typing import Any

import keras
from keras import layers, ops

from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts.arguments import check_students
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.distillation import Distillation
from oekd_tf.methods.parts.network import Network


@keras.saving.register_keras_serializable("oekd_tf")
class OKDDip(Distillation):
    """Peers follow a target of their own among themselves; a leader follows their mean.

    Students 1 to M−1 are the *peers*, student M, the smallest, the *group leader*. From pooled
    features g_a a query W_Q g_a and a key W_K g_a are made; A = softmax over peers of Q Kᵀ, for
    each example, and

    L = α Σ_i CE(y, z_i) + γ w(e) [Σ_{a<M} T² KL(Σ_b A_ab z_b ‖ z_a) + T² KL(mean_b z_b ‖ z_M)]

    where KL(t ‖ s) is between softmax(t/T) and softmax(s/T). The peers' logits in a target are
    detached, the attention is not: it is trained through the divergence, from which alone it
    learns. In the authors' code nothing is detached. w(e) is a sigmoid ramp over the first 0.27 of
    the training, the paper's 80 of 300 epochs.

    Made for branches of one width, with one W_Q and one W_K for all. With falling widths each
    student has its own, into an eighth of student 1's channels.

    Args:
        temperature: T, above 0.
        label_weight: α, weight of the cross-entropy with the labels, at least 0.
        distillation_weight: γ, weight of all divergences, at least 0.
        distillation_schedule: w(e), as in `Distillation`.
        **kwargs: Others of `Distillation` and `Method`, such as `schedule_share` and `divergence`.

    Raises:
        ValueError: An argument breaks its rule above, or there are fewer than three students.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     backbone, (32, 32, 3), num_classes=10, method="okddip")

    Reference:
        Chen, Mei, Wang, Feng, Chen, "Online Knowledge Distillation with Diverse Peers", AAAI 2020,
        arXiv 1912.00350.
    """

    title = "online distillation with diverse peers"
    reference = "https://arxiv.org/abs/1912.00350"
    teacher_title = "Ensemble of the peers (all students but the last)"

    def __init__(
        self,
        temperature: float = 3.0,
        label_weight: float = 1.0,
        distillation_weight: float = 1.0,
        *,
        distillation_schedule: str = "sigmoid",
        **kwargs: Any,
    ):
        super().__init__(
            temperature, label_weight, distillation_weight,
            distillation_schedule=distillation_schedule, **kwargs,
        )  # fmt: skip

    def check(self, students: int, epochs: int | None = None) -> None:
        check_students(students, 3, "two peers learn from each other and the leader from them")

    def build(self, network: Network) -> None:
        super().build(network)
        size = max(network.feature_channels[0] // 8, 1)
        peers = network.features[:-1]
        self.queries, self.keys = (
            [
                layers.Dense(size, use_bias=False, dtype="float32", name=f"student_{number}_{name}")
                for number in range(1, len(peers) + 1)
            ]
            for name in ("query", "key")
        )
        for made in (self.queries, self.keys):
            for layer, shape in zip(made, peers, strict=True):
                layer.build(shape)

    def attention(self, batch: Batch) -> Tensor:
        """How much each peer counts for each peer.

        Args:
            batch: The batch.

        Returns:
            (batch, peers, peers); each row sums to 1.
        """
        features = [ops.cast(seen, "float32") for seen in batch.features[:-1]]
        queries, keys = (
            ops.stack([layer(seen) for layer, seen in zip(made, features, strict=True)], axis=1)
            for made in (self.queries, self.keys)
        )
        return ops.softmax(ops.einsum("bqd,bkd->bqk", queries, keys), axis=-1)

    def teacher(self, batch: Batch) -> Tensor:
        return ops.mean(ops.stack(list(batch.logits[:-1])), axis=0)

    def distance(self, batch: Batch, logits: Tensor) -> Tensor:
        peers = ops.stop_gradient(logits[:-1])
        own = ops.einsum("bqk,kbc->qbc", self.attention(batch), peers)
        among = self.divergence_from(own, logits[:-1], batch, attached=True)
        return ops.sum(among, axis=0) + self.divergence_from(batch.teacher, logits[-1], batch)
