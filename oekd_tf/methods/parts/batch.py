"""What a method is given of a step: the batch and all that the network made of it."""

import dataclasses
from collections.abc import Sequence

import keras
from keras import ops

from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts import losses
from oekd_tf.methods.parts.progress import Progress


@dataclasses.dataclass(frozen=True)
class Batch:
    """A batch and the outputs of all students on it.

    Gradients flow into all of it; a method stops them where something is a target.

    Attributes:
        images: Raw pixels, (batch, height, width, channels); with a view per student
            (batch, students, height, width, channels).
        labels: Class indices (batch,) or class probabilities (batch, classes); None in inference.
        sample_weight: One weight an example, (batch,), or None.
        stem: For each student the stem's output that its branch got.
        blocks: For each student its block outputs, (batch, height, width, channels).
        features: For each student what its classifier saw, (batch, channels); in half precision
            under mixed precision, as are blocks and stem.
        logits: For each student its logits in float32, (batch, classes).
        stored: Logits of a teacher that were stored before, (batch, classes); None without.
        teacher: What `Method.teacher` returned, (batch, classes); None before it was asked.
        students: The functional models themselves.
        training: Whether the batch is trained on.
        class_weight: In training, a weight for each class in the label loss; None weighs none.
        logit_adjustment: In training, what the label loss adds to the logits, one number a class;
            None adds nothing.
        progress: How far training has come.
    """

    images: Tensor
    stem: Sequence[Tensor]
    blocks: Sequence[Sequence[Tensor]]
    features: Sequence[Tensor]
    logits: Sequence[Tensor]
    students: Sequence[keras.Model] = ()
    labels: Tensor | None = None
    sample_weight: Tensor | None = None
    stored: Tensor | None = None
    teacher: Tensor | None = None
    training: bool = False
    class_weight: Sequence[float] | None = None
    logit_adjustment: Sequence[float] | None = None
    progress: Progress = dataclasses.field(default_factory=Progress)

    def label_loss(self, logits: Tensor) -> Tensor:
        """Cross-entropy with the labels, as the network weighs and adjusts it in training.

        An example's is times its weight if there are weights: its own, and that of its class; of
        soft labels the classes' mean weight under them.

        Args:
            logits: Shape (..., batch, classes).

        Returns:
            Nats, shape (..., batch).
        """
        if self.logit_adjustment is not None:
            logits = logits + ops.convert_to_tensor(self.logit_adjustment, dtype=logits.dtype)
        loss = losses.label_loss(self.labels, logits)
        if self.class_weight is not None:
            loss = loss * losses.label_weights(self.labels, self.class_weight, loss.dtype)
        if self.sample_weight is None:
            return loss
        return loss * ops.reshape(ops.cast(self.sample_weight, loss.dtype), (-1,))
