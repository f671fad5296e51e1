"""Distillation from a teacher that was trained before."""

from pathlib import Path
from typing import Any

import keras
from keras import ops

from oekd_tf.core.keras_files import RUN_FILES, find_model, load_model, student_of
from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.distillation import Distillation
from oekd_tf.methods.parts.network import Network

_TEACHER_RULE = (
    "teacher must be a Keras model, a .keras file, or the workdir of a finished run with "
    f"{' or '.join(RUN_FILES)} in it."
)


@keras.saving.register_keras_serializable("oekd_tf")
class Offline(Distillation):
    """Every student follows the labels and a fixed teacher.

    L_i = α CE(y, z_i) + γ T² KL(softmax(z_t/T) ‖ softmax(z_i/T)), with the logits z_t of a network
    that is trained already. What one would do without an online ensemble; the teacher's own
    training has to be counted beside it. The teacher is saved with the ensemble, never exported.

    Args:
        teacher: A Keras model from the same raw images to logits of the same classes; an
            `OnlineEnsemble`, whose student 1 is then the teacher; the path of a `.keras` file of
            either; or the workdir of a finished run.
        temperature: T, above 0.
        label_weight: α, weight of the cross-entropy with the labels, at least 0.
        distillation_weight: γ, weight of the divergence from the teacher, at least 0.
        **kwargs: Others of `Distillation` and `Method`, such as `divergence` and `stem_gradient`.

    Raises:
        ValueError: An argument breaks its rule above, or the teacher takes other images or gives
            other classes.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     backbone, (32, 32, 3), num_classes=10,
        ...     method=oekd_tf.methods.Offline(teacher="runs/teacher"))

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531.
    """

    title = "offline distillation"
    reference = "https://arxiv.org/abs/1503.02531"
    teacher_title = "Fixed teacher"

    def __init__(
        self,
        teacher: keras.Model | str | Path | None = None,
        temperature: float = 2.0,
        label_weight: float = 0.7,
        distillation_weight: float = 0.15,
        **kwargs: Any,
    ):
        super().__init__(temperature, label_weight, distillation_weight, **kwargs)
        self._teacher_file: Path | None = None
        self.network: keras.Model | None = None
        if teacher is None:
            raise ValueError(f"{_TEACHER_RULE} Received: none")
        if isinstance(teacher, str | Path):
            self._teacher_file = find_model(teacher, _TEACHER_RULE)
        else:
            self.network = _copy(teacher)

    @property
    def files(self) -> dict[str, Path]:
        return {} if self._teacher_file is None else {"teacher": self._teacher_file}

    def build(self, network: Network) -> None:
        super().build(network)
        if self.network is None:
            assert self._teacher_file is not None, "One of both is given"
            self.network = _copy(load_model(self._teacher_file, _TEACHER_RULE))
        for side, own in (("input", network.students[0]), ("output", network.students[0])):
            given = tuple(getattr(self.network, f"{side}_shape"))
            wanted = tuple(getattr(own, f"{side}_shape"))
            if given != wanted:
                what = "take images" if side == "input" else "give logits"
                raise ValueError(f"teacher must {what} of shape {wanted}. Received: {given}")

    def teacher(self, batch: Batch) -> Tensor:
        # All views of an image have one teacher: that of the first.
        images = batch.images[:, 0] if len(batch.images.shape) == 5 else batch.images
        assert self.network is not None, "The teacher is read when the ensemble is made"
        return ops.cast(ops.stop_gradient(self.network(images, training=False)), "float32")

    def get_config(self) -> dict[str, Any]:
        if self.network is None:
            raise ValueError("The teacher is read when the ensemble is made; make one first")
        # Where the teacher came from does not matter any more.
        return {
            **super().get_config(),
            "teacher": keras.saving.serialize_keras_object(self.network),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Offline":
        teacher = keras.saving.deserialize_keras_object(config["teacher"])
        return cls(**{**config, "teacher": teacher})


def _copy(teacher: keras.Model) -> keras.Model:
    """A frozen copy: the user's own model must stay trainable."""
    teacher = student_of(teacher, _TEACHER_RULE)
    last = teacher.layers[-1]
    if isinstance(last, keras.layers.Softmax) or (
        getattr(last, "activation", None) is keras.activations.softmax
    ):
        raise ValueError(
            "teacher must give logits. Received: one whose last layer, "
            f"{last.name!r}, gives probabilities by softmax"
        )
    graph = keras.Model(teacher.inputs[0], teacher.outputs[0], name="teacher")
    copy = keras.models.clone_model(graph)
    copy.set_weights(teacher.get_weights())
    copy.trainable = False
    return copy
