"""Feature fusion learning: a classifier on the fused maps of all students."""

import keras
from keras import layers, ops

from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts import norms
from oekd_tf.methods.parts.arguments import check_students
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.losses import ensemble_logits
from oekd_tf.methods.parts.network import Network
from oekd_tf.methods.parts.progress import Progress
from oekd_tf.methods.parts.trained_teacher import TrainedTeacher


@keras.saving.register_keras_serializable("oekd_tf")
class FFL(TrainedTeacher):
    """Students and a classifier on their fused maps teach each other.

    The last block outputs of all students are concatenated, go through a depthwise 3×3 and a 1×1
    convolution, each with batch normalisation and ReLU, and pooled into a classifier: z_F. With
    the students' mean z_E,

    L = α [Σ_i CE(y, z_i)] + α_F CE(y, z_F)
        + γ w(e) [Σ_i T² KL(z_F ‖ z_i) + T² KL(z_E ‖ z_F)]

    where KL(t ‖ s) is between softmax(t/T), detached, and softmax(s/T). Gradients of the fused
    classifier flow into the students. w(e) is a sigmoid ramp over the first 0.27 of the training,
    the paper's 80 of 300 epochs.

    Made for two branches of one width. Concatenation does not mind falling widths; the 1×1
    convolution gives as many channels as student 1 has.

    Args:
        temperature: T, above 0.
        label_weight: α, weight of the students' cross-entropy with the labels, at least 0.
        distillation_weight: γ, weight of both divergences, at least 0.
        teacher_label_weight: α_F, weight of the fused classifier's cross-entropy, at least 0.
        distillation_schedule: w(e), as in `Distillation`; "sigmoid" if it is not given.
        **kwargs: Others of `Distillation` and `Method`, such as `schedule_share` and `divergence`.

    Raises:
        ValueError: An argument breaks its rule above, or the ensemble has a single student.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     backbone, (32, 32, 3), num_classes=10, method="ffl")

    Reference:
        Kim, Hyun, Chung, Kwak, "Feature Fusion for Online Mutual Knowledge Distillation", ICPR
        2020, arXiv 1904.09058.
    """

    title = "feature fusion learning"
    reference = "https://arxiv.org/abs/1904.09058"
    teacher_title = "Classifier on the fused features of all students"

    def check(self, students: int, epochs: int | None = None) -> None:
        check_students(students, 2, "their features are fused")

    def build(self, network: Network) -> None:
        super().build(network)
        channels = network.block_channels[0][-1]
        shape = (*network.blocks[0][-1][:-1], sum(own[-1] for own in network.block_channels))
        arguments = {"use_bias": False, "dtype": "float32"}
        self.fusion = [
            layers.DepthwiseConv2D(3, padding="same", name="fusion_depthwise", **arguments),
            norms.batch_norm("fusion_depthwise_norm"),
            layers.ReLU(dtype="float32", name="fusion_depthwise_relu"),
            layers.Conv2D(channels, 1, name="fusion_pointwise", **arguments),
            norms.batch_norm("fusion_pointwise_norm"),
            layers.ReLU(dtype="float32", name="fusion_pointwise_relu"),
            layers.GlobalAveragePooling2D(dtype="float32", name="fusion_pool"),
            layers.Dense(network.num_classes, dtype="float32", name="fusion_logits"),
        ]
        for layer in self.fusion:
            if not layer.built:
                layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def teacher(self, batch: Batch) -> Tensor:
        maps = [ops.cast(blocks[-1], "float32") for blocks in batch.blocks]
        fused = ops.concatenate(maps, axis=-1)
        for layer in self.fusion:
            takes_training = isinstance(layer, layers.BatchNormalization)
            fused = layer(fused, training=batch.training) if takes_training else layer(fused)
        return fused

    def loss_weights(self, progress: Progress) -> dict[str, float | Tensor]:
        weights = super().loss_weights(progress)
        return {**weights, "teacher_distillation_loss": weights["distillation_loss"]}

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        mean = ensemble_logits(ops.stack(list(batch.logits)))
        from_mean = self.divergence_from(mean, batch.teacher, batch)
        return {**super().terms(batch), "teacher_distillation_loss": from_mean}
