"""A teacher that a user brings: a network that was trained before, and is not trained any more."""

from pathlib import Path
from typing import Any

import keras
from keras import ops

from oekd_tf.core.keras_files import RUN_FILES, find_model, load_model, student_of
from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.network import Network

RULE = (
    "teacher must be a Keras model, a .keras file, or the workdir of a finished run with "
    f"{' or '.join(RUN_FILES)} in it."
)


class TakesTeacher:
    """Part of a method whose argument `teacher` is a network that a user brings.

    Attributes:
        network: The frozen copy, from raw images to logits; None before a file is read, and where
            there is no teacher.
    """

    network: keras.Model | None = None
    _teacher_file: Path | None = None

    def take_teacher(self, teacher: Any) -> None:
        """Looks at the argument, and copies a model.

        Args:
            teacher: A Keras model; an `OnlineEnsemble`, whose student 1 is then the teacher; the
                path of a `.keras` file of either, which is read when the ensemble is made; or the
                workdir of a finished run.

        Raises:
            ValueError: There is no such file, or the model does not give logits.
        """
        if isinstance(teacher, str | Path):
            self._teacher_file = find_model(teacher, RULE)
        else:
            self.network = _copy(teacher)

    @property
    def has_teacher(self) -> bool:
        """Whether there is one."""
        return self.network is not None or self._teacher_file is not None

    @property
    def files(self) -> dict[str, Path]:
        return {} if self._teacher_file is None else {"teacher": self._teacher_file}

    def read_teacher(self, network: Network) -> None:
        """Reads the file, and compares the teacher with the students; to be called in `build`.

        Args:
            network: The ensemble's network.

        Raises:
            ValueError: The teacher takes other images or gives other classes.
        """
        if self.network is None:
            assert self._teacher_file is not None, "One of both is given"
            self.network = _copy(load_model(self._teacher_file, RULE))
        for side in ("input", "output"):
            given = tuple(getattr(self.network, f"{side}_shape"))
            wanted = tuple(getattr(network.students[0], f"{side}_shape"))
            # A network for images of any size says None.
            fits = len(given) == len(wanted) and all(
                size in (None, own) for size, own in zip(given, wanted, strict=True)
            )
            if not fits:
                what = "take images" if side == "input" else "give logits"
                raise ValueError(f"teacher must {what} of shape {wanted}. Received: {given}")

    def own_logits(self, batch: Batch) -> Tensor:
        """The teacher's logits in float32, (batch, classes); of the first of several views."""
        images = batch.images[:, 0] if len(batch.images.shape) == 5 else batch.images
        assert self.network is not None, "The teacher is read when the ensemble is made"
        return ops.cast(ops.stop_gradient(self.network(images, training=False)), "float32")

    def teacher_config(self) -> dict[str, Any] | None:
        """The argument in a saved ensemble: where a teacher came from does not matter any more."""
        if not self.has_teacher:
            return None
        if self.network is None:
            raise ValueError("The teacher is read when the ensemble is made; make one first")
        return keras.saving.serialize_keras_object(self.network)


def _copy(teacher: Any) -> keras.Model:
    """A frozen copy: the user's own model must stay trainable."""
    teacher = student_of(teacher, RULE)
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
