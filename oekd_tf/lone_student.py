"""A student that is trained without the others."""

from typing import Any

import keras

from oekd_tf.tensorflow_step import reducible


class LoneStudent(keras.Model):
    """A functional model that Keras's own `fit` trains, on several hosts too.

    Args:
        inputs: Of the student.
        outputs: Its logits.
        name: Its name.

    Example:
        >>> student = ensemble.students[4]
        >>> alone = LoneStudent(student.inputs, student.outputs[0], name=student.name)
    """

    def train_step(self, data: Any) -> dict[str, Any]:
        return reducible(super().train_step(data))

    def test_step(self, data: Any) -> dict[str, Any]:
        return reducible(super().test_step(data))

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        # Keras reads a batch to learn its shape, which it cannot do with a batch of several hosts.
        images = keras.KerasTensor((None, *self.input_shape[1:]))
        self._symbolic_build(data_batch=(images, keras.KerasTensor((None,), "int32")))
