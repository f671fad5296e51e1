"""Moving averages of an ensemble's weights, and the networks that have them."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from oekd_tf.core.keras_internals import deep_recursion
from oekd_tf.core.types import Tensor

if TYPE_CHECKING:
    from oekd_tf.methods.parts.method import Method


class Averages:
    """Moving averages of the weights of all students and of a method.

    They are variables of the method, so that they are checkpointed and saved with it. Variables
    that students share, the stem's, have one average. Moving statistics of a method's own batch
    normalisation are left as they are, moving averages already.

    Args:
        method: The method, with its own variables made.
        students: The functional models.
        own_statistics: Whether the averaged networks keep moving statistics of their own, of what
            they see themselves in `run`; otherwise the students' are averaged like weights.
        independent: Whether averages begin at other random values than the students'.
    """

    def __init__(
        self,
        method: "Method",
        students: Sequence[keras.Model],
        *,
        own_statistics: bool = False,
        independent: bool = False,
    ):
        sources: dict[int, Any] = {}
        initial: dict[int, Any] = {}
        origins = _copies(students) if independent else students
        for student, origin in zip(students, origins, strict=True):
            for variable, value in zip(student.variables, origin.variables, strict=True):
                if keras.backend.is_float_dtype(variable.dtype) and id(variable) not in sources:
                    sources[id(variable)], initial[id(variable)] = variable, value
        for variable in method.trainable_variables:
            sources[id(variable)] = initial[id(variable)] = variable
        self._statistics = {
            id(v) for s in students for v in s.non_trainable_variables if own_statistics
        }
        self._sources = sources
        self._averages = {key: method.add_average(v) for key, v in sources.items()}
        for key, average in self._averages.items():
            average.assign(initial[key])

    def of(self, variable: Any) -> Any:
        """The variable that holds the average of another; None where there is none."""
        return self._averages.get(id(variable))

    def update(self, decay: float | Tensor) -> None:
        """Moves every average towards its weight.

        Args:
            decay: Share of the average in its new value.
        """
        for key, variable in self._sources.items():
            if key not in self._statistics:
                average = self._averages[key]
                average.assign(decay * average + (1.0 - decay) * variable)

    @contextlib.contextmanager
    def in_place(self, variables: Iterable[Any]) -> Iterator[None]:
        """Within it all weights have the values of their averages.

        Args:
            variables: All variables that are read within, which a scope of Keras must be told.
        """
        # Read before the scope, in which JAX would not find the values of a traced step.
        values = [(v, ops.convert_to_tensor(self._averages.get(id(v), v))) for v in variables]
        with keras.StatelessScope(state_mapping=values, initialize_variables=False):
            yield

    def run(self, student: keras.Model, images: Tensor) -> Tensor:
        """Logits of a student with averaged weights, in training mode, and no gradient.

        Its batch normalisation has the statistics of the batch; moving statistics of its own
        follow them.

        Args:
            student: The student.
            images: Its images, (batch, height, width, channels).

        Returns:
            Logits in float32, (batch, classes).
        """
        trained = [ops.convert_to_tensor(self.of(v)) for v in student.trainable_variables]
        state = [
            ops.convert_to_tensor(v if self.of(v) is None else self.of(v))
            for v in student.non_trainable_variables
        ]
        logits, after = student.stateless_call(trained, state, images, training=True)
        for variable, value in zip(student.non_trainable_variables, after, strict=True):
            if id(variable) in self._statistics and self.of(variable) is not None:
                self.of(variable).assign(ops.stop_gradient(value))
        return ops.cast(ops.stop_gradient(logits), "float32")

    def model(self, student: keras.Model) -> keras.Model:
        """A network of its own with the averages of a student's weights.

        Args:
            student: The student.

        Returns:
            A functional model of the same name.
        """
        with deep_recursion():
            copy = keras.models.clone_model(student)
        self._give(student, copy)
        return copy

    def models(self, students: Sequence[keras.Model]) -> list[keras.Model]:
        """Networks of their own with the averages of all students' weights, and the same stem.

        Args:
            students: The students.

        Returns:
            Functional models, which share what the students share.
        """
        copies = _copies(students)
        for student, copy in zip(students, copies, strict=True):
            self._give(student, copy)
        return copies

    def _give(self, student: keras.Model, copy: keras.Model) -> None:
        for variable, own in zip(student.variables, copy.variables, strict=True):
            average = self.of(variable)
            # A copy, because under JAX the next step takes over the averages' arrays.
            own.assign(ops.copy(variable if average is None else average))


def _copies(students: Sequence[keras.Model]) -> list[keras.Model]:
    """The same networks with initial values drawn anew; they share what the students share."""
    with deep_recursion():
        everyone = keras.Model(students[0].inputs[0], [s.outputs[0] for s in students])
        copy = keras.models.clone_model(everyone)
        return [
            keras.Model(copy.inputs[0], logits, name=student.name)
            for student, logits in zip(students, copy.outputs, strict=True)
        ]
