"""What methods have in common: students that follow the labels and a teacher's logits."""

from collections.abc import Sequence
from typing import Any

from keras import layers, ops

from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts import feature_losses, losses
from oekd_tf.methods.parts.arguments import (
    check_choice,
    check_share,
    check_temperature,
    check_weight,
)
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.divergences import DIVERGENCES
from oekd_tf.methods.parts.method import Method
from oekd_tf.methods.parts.network import Network
from oekd_tf.methods.parts.progress import SCHEDULES, Progress

FEATURES = ("mse", "relative_mse", "attention", "projected", "channel_mean")
# Features that a student's block must have as many channels for as the pseudo teacher's.
ADAPTED = ("mse", "relative_mse")

# The paper's β, which is nothing without features.
FEATURE_WEIGHT = 0.15


class Distillation(Method):
    """Students that follow the labels, a teacher, and perhaps the pseudo teacher's features.

    L = α Σ_i CE(y, z_i) + β L_features + γ Σ_i D(t_i ‖ z_i). A method is a subclass that gives the
    targets t_i; all arguments here are its own too.

    Args:
        temperature: T of the divergence, above 0.
        label_weight: α, weight of the cross-entropy with the labels, at least 0.
        distillation_weight: γ, weight of the divergence from the teacher, at least 0.
        divergence: D, a name of `divergences.DIVERGENCES`: "kl", "standardized_kl", "dkd" or "nkd".
        features: What of the pseudo teacher's features the other students follow: the block
            outputs ("mse" and "relative_mse" through 1×1 channel adaptation layers, "attention"
            maps, "channel_mean"), or "projected", the pooled features. None is nothing.
        feature_weight: β, weight of the feature loss, at least 0. With 0 it is not computed. To be
            left out, or 0, unless there are `features`.
        feature_blocks: Numbers of the blocks whose outputs are followed, from 1; None is all.
        distillation_schedule: How γ changes: "constant", "linear" and "sigmoid" rise, "fade" falls.
        feature_schedule: How β changes.
        schedule_share: Share of the training after which a schedule is at its end, above 0 and at
            most 1. 0.27 is 80 of 300 epochs.
        **kwargs: Others of `Method`: `stem_gradient`, `ema_decay`.

    Raises:
        ValueError: An argument breaks its rule above.
    """

    # Arguments of `OEKD`.
    adaptation_initializer = "glorot_uniform"
    train_adaptation = True

    def __init__(
        self,
        temperature: float = 2.0,
        label_weight: float = 1.0,
        distillation_weight: float = 1.0,
        *,
        divergence: str = "kl",
        features: str | None = None,
        feature_weight: float = FEATURE_WEIGHT,
        feature_blocks: Sequence[int] | None = None,
        distillation_schedule: str = "constant",
        feature_schedule: str = "constant",
        schedule_share: float = 0.27,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.temperature = check_temperature(temperature)
        self.label_weight = check_weight("label_weight", label_weight)
        self.distillation_weight = check_weight("distillation_weight", distillation_weight)
        self.divergence = check_choice("divergence", divergence, tuple(DIVERGENCES))
        if features is not None and features not in FEATURES:
            raise ValueError(
                f"features must be None or one of {', '.join(FEATURES)}. Received: {features!r}"
            )
        self.features = features
        self.feature_weight = check_weight("feature_weight", feature_weight)
        if features is None and feature_weight not in (0.0, FEATURE_WEIGHT):
            raise ValueError(
                "feature_weight must be left out unless features are followed, as with "
                f"features='mse'. Received: {feature_weight} with features=None"
            )
        followed = self.distillation_weight or (features is not None and self.feature_weight)
        if not (self.label_weight or followed):
            raise ValueError(
                "One of the weights must be above 0, for the students to learn anything. Received: "
                f"label_weight={label_weight}, distillation_weight={distillation_weight}, "
                f"feature_weight={feature_weight} with features={features!r}"
            )
        self.feature_blocks = _block_numbers(feature_blocks)
        if self.feature_blocks and features in (None, "projected"):
            raise ValueError(
                "feature_blocks must be None unless features are of blocks, as 'mse' is. "
                f"Received: {self.feature_blocks} with features={features!r}"
            )
        for name, value in (
            ("distillation_schedule", distillation_schedule),
            ("feature_schedule", feature_schedule),
        ):
            setattr(self, name, check_choice(name, value, SCHEDULES))
        self.schedule_share = check_share("schedule_share", schedule_share)
        if features is None and feature_schedule != "constant":
            raise ValueError(
                "feature_schedule must be 'constant' unless features are followed, as with "
                f"features='mse'. Received: {feature_schedule!r} with features=None"
            )

    def build(self, network: Network) -> None:
        count = len(network.blocks[0]) if network.blocks else 0
        if self.feature_blocks and max(self.feature_blocks) > count:
            raise ValueError(
                f"feature_blocks must be numbers from 1 to {count}, the network's blocks. "
                f"Received: {self.feature_blocks}"
            )
        self._blocks = self.feature_blocks or tuple(range(1, count + 1))
        if self.features in ADAPTED:
            self.adaptation = [
                [self._adaptation_layer(network, student, block) for block in self._blocks]
                for student in range(2, len(network.widths) + 1)
            ]
        elif self.features == "projected":
            self.projection = [
                layers.Dense(
                    network.features[0][-1],
                    use_bias=False,
                    dtype="float32",
                    name=f"student_{number}_projection",
                )
                for number in range(2, len(network.widths) + 1)
            ]
            for layer, shape in zip(self.projection, network.features[1:], strict=True):
                layer.build(shape)

    def _adaptation_layer(self, network: Network, student: int, block: int) -> layers.Layer:
        """A 1×1 convolution from a student's channels to the pseudo teacher's."""
        layer = layers.Conv2D(
            network.blocks[0][block - 1][-1],
            1,
            # By name: each layer then makes one of its own, with numbers of its own.
            kernel_initializer=self.adaptation_initializer,
            name=f"student_{student}_block_{block}_adaptation",
        )
        layer.build(network.blocks[student - 1][block - 1])
        layer.trainable = self.train_adaptation
        return layer

    def loss_weights(self, progress: Progress) -> dict[str, float | Tensor]:
        weights: dict[str, float | Tensor] = {"label_loss": self.label_weight}
        if self.features:
            share = progress.schedule(self.feature_schedule, self.schedule_share)
            weights["feature_loss"] = share * self.feature_weight
        share = progress.schedule(self.distillation_schedule, self.schedule_share)
        weights["distillation_loss"] = share * self.distillation_weight
        return weights

    def targets(self, batch: Batch, logits: Tensor) -> Tensor:
        """What the students follow.

        Args:
            batch: The batch, with labels and `batch.teacher`.
            logits: All students' logits, (students, batch, classes).

        Returns:
            The logits of one teacher, (batch, classes), or of each student's own, (students, batch,
            classes). No gradient flows into them.
        """
        del logits
        return batch.teacher

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        logits = ops.stack(list(batch.logits))
        return self.terms_with(self.distance(batch, logits), batch, logits)

    def terms_with(self, distance: Tensor, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        """The terms of the loss, with a distillation loss that is known already.

        Args:
            distance: The distillation loss, (batch,).
            batch: The batch.
            logits: All students' logits, (students, batch, classes).

        Returns:
            As `terms`.
        """
        terms = {
            "label_loss": ops.sum(batch.label_loss(logits), axis=0),
            "distillation_loss": distance,
        }
        if self.features and self.feature_weight and len(batch.logits) > 1:
            terms["feature_loss"] = self.feature_distance(batch)
        return terms

    def distance(self, batch: Batch, logits: Tensor) -> Tensor:
        """The distillation loss, without its weight: the sum over students.

        Args:
            batch: The batch.
            logits: All students' logits, (students, batch, classes).

        Returns:
            (batch,).
        """
        return ops.sum(self.divergence_from(self.targets(batch, logits), logits, batch), axis=0)

    def divergence_from(
        self, target: Tensor, logits: Tensor, batch: Batch, attached: bool = False
    ) -> Tensor:
        """The divergence from a target, times T².

        Args:
            target: Logits, (..., batch, classes).
            logits: Students' logits, (..., batch, classes).
            batch: The batch, for its labels.
            attached: Whether gradients flow into the target.

        Returns:
            (..., batch).
        """
        function = DIVERGENCES[self.divergence]
        return function(target, logits, self.temperature, batch.labels, attached)

    def distance_from_peers(self, peers: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """The sum over students of the mean divergence from each other student's target.

        Args:
            peers: A target for each student that teaches, (students, batch, classes).
            logits: Students' logits, of the same shape.
            batch: The batch.

        Returns:
            (batch,).
        """
        divergences = [self.divergence_from(peer, logits, batch) for peer in ops.unstack(peers)]
        return ops.sum(losses.mean_over_others(divergences), axis=0)

    def feature_distance(self, batch: Batch) -> Tensor:
        """The feature loss, without its weight: the sum over students 2 and up, and blocks.

        Args:
            batch: The batch.

        Returns:
            (batch,).
        """
        if self.features == "projected":
            return sum(
                feature_losses.projected_loss(batch.features[0], layer(ops.cast(seen, "float32")))
                for layer, seen in zip(self.projection, batch.features[1:], strict=True)
            )
        targets = [batch.blocks[0][number - 1] for number in self._blocks]
        if self.features in ADAPTED:
            return sum(
                losses.feature_loss(target, adapted, relative=self.is_relative)
                for student in self.adapted(batch)
                for target, adapted in zip(targets, student, strict=True)
            )
        function = {
            "attention": feature_losses.attention_loss,
            "channel_mean": feature_losses.channel_mean_loss,
        }[str(self.features)]
        return sum(
            function(target, blocks[number - 1])
            for blocks in batch.blocks[1:]
            for target, number in zip(targets, self._blocks, strict=True)
        )

    @property
    def is_relative(self) -> bool:
        """Whether the mean squared error is divided by the target's own mean square."""
        return self.features == "relative_mse"

    def adapted(self, batch: Batch) -> list[list[Tensor]]:
        """Block outputs of students 2 and up after their channel adaptation layers.

        Args:
            batch: The batch.

        Returns:
            For each of these students and each block that is followed, (batch, height, width,
            channels) with the pseudo teacher's number of channels.
        """
        return [
            [layer(blocks[number - 1]) for layer, number in zip(student, self._blocks, strict=True)]
            for student, blocks in zip(self.adaptation, batch.blocks[1:], strict=True)
        ]


def _block_numbers(blocks: Sequence[int] | None) -> tuple[int, ...] | None:
    if blocks is None:
        return None
    numbers = (blocks,) if isinstance(blocks, int) else tuple(blocks)
    valid = all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in numbers)
    if not numbers or not valid or len(set(numbers)) < len(numbers):
        raise ValueError(
            "feature_blocks must be None or different numbers of blocks, from 1. "
            f"Received: {blocks!r}"
        )
    return tuple(sorted(numbers))
