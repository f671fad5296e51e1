"""The interface of a method: how students teach each other."""

import contextlib
import inspect
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
from keras import ops

from oekd_tf.core.choices import STEM_GRADIENTS
from oekd_tf.core.keras_internals import unlocked
from oekd_tf.core.types import Tensor
from oekd_tf.methods.parts import losses
from oekd_tf.methods.parts.arguments import check_decay
from oekd_tf.methods.parts.averages import Averages
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.network import Network
from oekd_tf.methods.parts.progress import Progress


class Method(keras.layers.Layer):
    """How students teach each other; subclass it to bring a method of your own.

    A method is a Keras layer: layers and variables that it makes in `build` are trained,
    checkpointed and saved with the ensemble, and never part of a student, so never exported.

    Write `loss_weights`, which names the terms of the loss, and `terms`, which computes them; all
    other hooks have defaults. Keep the constructor's arguments as attributes of the same name,
    register the class with `keras.saving.register_keras_serializable`, and let
    `oekd_tf.testing.check_method` look at it.

    Args:
        stem_gradient: Whose gradient trains a stem that students share: "all" students', their
            "mean" (each divided by the number of students), the "pseudo_teacher"'s alone, or
            "none": the stem keeps its initial values.
        ema_decay: Decay d of moving averages of all weights, above 0 and below 1: after step t an
            average is min(d, 1 - 1/t) times itself plus the rest times the weight. What is
            evaluated, predicted and exported has the averages; `students` themselves keep the
            weights that are trained. None keeps no averages.
        name: Name of the layer; the class's in lower case if None.

    Attributes:
        title: The method in words, for reports.
        reference: The paper.
        teacher_title: What `teacher` gives, for reports.
        views: 1, or "students": in training each student gets an augmentation of its own.
        plain_images: With views for the students, whether images without them are taken too: all
            students then see the same.
        is_stored: Whether labels come with a teacher's stored logits, `batch.stored`.
        moving_averages: The moving averages of an ensemble's weights; None where none are kept.

    Raises:
        ValueError: An argument breaks its rule.

    Example:
        ```python
        @keras.saving.register_keras_serializable("my_project")
        class LeaveOneOut(oekd_tf.methods.Method):
            def __init__(self, temperature=3.0, **kwargs):
                super().__init__(**kwargs)
                self.temperature = temperature

            def loss_weights(self, progress):
                return {"label_loss": 1.0, "distillation_loss": progress.sigmoid(0.27)}

            def terms(self, batch):
                total, count = sum(batch.logits), len(batch.logits) - 1
                return {
                    "label_loss": sum(batch.label_loss(z) for z in batch.logits),
                    "distillation_loss": sum(
                        oekd_tf.losses.distillation_loss((total - z) / count, z, self.temperature)
                        for z in batch.logits),
                }

        ensemble = oekd_tf.OnlineEnsemble(backbone, (32, 32, 3), 10, method=LeaveOneOut())
        ```
    """

    title = ""
    reference = ""
    teacher_title = "Ensemble teacher (all students together)"
    views: int | str = 1
    plain_images = False
    is_stored = False

    # What fine-tuning before an export goes on with; methods that have them set their own.
    temperature: float = 2.0
    label_weight: float = 1.0
    distillation_weight: float = 0.0

    def __init__(
        self,
        *,
        stem_gradient: str = "all",
        ema_decay: float | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(name=name or type(self).__name__.lower(), **kwargs)
        if stem_gradient not in STEM_GRADIENTS:
            raise ValueError(
                f"stem_gradient must be one of {STEM_GRADIENTS}. Received: {stem_gradient!r}"
            )
        self.stem_gradient = stem_gradient
        self.ema_decay = None if ema_decay is None else check_decay("ema_decay", ema_decay)
        self.moving_averages: Averages | None = None

    def check(self, students: int, epochs: int | None = None) -> None:
        """Raises where the method cannot train such an ensemble; called before any work.

        Args:
            students: How many students there are.
            epochs: How many epochs they are trained; None where it is not known yet.

        Raises:
            ValueError: An argument does not fit; the message begins with its name.
        """
        del students, epochs

    def build(self, network: Network) -> None:
        """Makes the method's own layers and variables; called once, when the ensemble is made.

        Layers that are made here must be built here, from the shapes in `network`.

        Args:
            network: Shapes of what `terms` will get.

        Raises:
            ValueError: The method cannot train such a network.
        """
        del network

    def build_averages(self, students: Sequence[keras.Model]) -> None:
        """Makes the moving averages that arguments ask for; called after `build`.

        Args:
            students: The functional models.
        """
        if self.ema_decay is not None:
            with unlocked(self):
                self.moving_averages = Averages(self, students)

    def loss_weights(self, progress: Progress) -> dict[str, float | Tensor]:
        """The weight of each term of the loss; its keys are the names under which terms are logged.

        Args:
            progress: How far training has come; finished in evaluation.

        Returns:
            By name, such as "label_loss", a number or a scalar tensor; the same names always.
        """
        raise NotImplementedError(f"{type(self).__name__} must define loss_weights(progress)")

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss.

        Args:
            batch: The batch, with labels and `batch.teacher`.

        Returns:
            By name, one value an example (batch,), or a scalar for a statistic of the whole
            batch. A name of `loss_weights` that is left out counts as 0. Names of `logged` may be
            there too: they are logged, and no part of the loss.
        """
        raise NotImplementedError(f"{type(self).__name__} must define terms(batch)")

    def teacher(self, batch: Batch) -> Tensor:
        """The teacher's logits, which are logged and evaluated; by default the students' mean.

        Args:
            batch: The batch; without labels in inference.

        Returns:
            Logits (batch, classes). Gradients may flow through them: a method that takes them
            for a target stops them there.
        """
        return losses.ensemble_logits(ops.stack(list(batch.logits)))

    def stem_gradient_share(self, student: int, students: int) -> float:
        """What a student's gradient to the stem is multiplied by.

        Args:
            student: Number of the student, from 1.
            students: How many students there are.

        Returns:
            1 lets it through, 0 stops it; 0 for all students freezes the stem.
        """
        shares = {"all": 1.0, "mean": 1 / students, "none": 0.0}
        return shares.get(self.stem_gradient, float(student == 1))

    def after_step(self, students: Sequence[keras.Model], progress: Progress) -> None:
        """Called after the optimizer has changed the weights, to update moving averages.

        Not called for a step that was refused, nor for one that a loss scale has skipped. Only
        non-trainable variables of this method may be assigned, those that `add_average` makes.

        Args:
            students: The functional models, with their new weights.
            progress: How far training has come, this step included.
        """
        del students, progress

    @property
    def follows_steps(self) -> bool:
        """Whether something is to be done after a step of the optimizer."""
        return self.moving_averages is not None or type(self).after_step is not Method.after_step

    @property
    def follows_epochs(self) -> bool:
        """Whether something is to be done after an epoch."""
        return type(self).after_epoch is not Method.after_epoch

    def finish_step(self, students: Sequence[keras.Model], progress: Progress) -> None:
        """Moves the averages, then calls `after_step`.

        Args:
            students: The functional models, with their new weights.
            progress: How far training has come, this step included.
        """
        if self.moving_averages is not None:
            self.moving_averages.update(self.average_decay(progress))
        self.after_step(students, progress)

    def average_decay(self, progress: Progress) -> float | Tensor:
        """The decay of the moving averages after a step.

        Args:
            progress: How far training has come, the step included.

        Returns:
            At first the mean of all steps so far, min(d, 1 - 1/t).
        """
        assert self.ema_decay is not None, "There are averages"
        if progress.step is None:
            return self.ema_decay
        return ops.minimum(self.ema_decay, 1.0 - 1.0 / ops.cast(progress.step, "float32"))

    @contextlib.contextmanager
    def evaluated(self, ensemble: keras.Model, training: bool) -> Iterator[None]:
        """Within it weights have the values that are evaluated: their moving averages.

        Args:
            ensemble: The ensemble.
            training: Whether this is a step of training, which changes nothing.
        """
        if training or self.moving_averages is None:
            yield
            return
        with self.moving_averages.in_place(ensemble.variables):
            yield

    def before_training(self, ensemble: keras.Model, arguments: dict[str, Any]) -> None:
        """Called by `fit` before the first step of a training, not when one is resumed.

        Args:
            ensemble: The ensemble.
            arguments: Arguments of `fit`: x, y, batch_size and others, which may be changed.
        """
        del ensemble, arguments

    def after_epoch(self, ensemble: keras.Model, held_out: Iterable | None) -> None:
        """Called after an epoch's last step and validation, before its checkpoint.

        Args:
            ensemble: The ensemble.
            held_out: Batches of images and labels that were not trained on: the validation data;
                None if there are none.
        """
        del ensemble, held_out

    def exported(self, students: Sequence[keras.Model]) -> list[keras.Model]:
        """The models that are exported, functional, from raw images to logits.

        Args:
            students: The ensemble's students.

        Returns:
            All students by default, with the moving averages of their weights if these are kept; a
            method may deliver fewer, or others in their place.
        """
        if self.moving_averages is None:
            return list(students)
        return [self.moving_averages.model(student) for student in students]

    @property
    def needs_held_out(self) -> bool:
        """Whether `after_epoch` cannot do without validation data."""
        return False

    @property
    def logged(self) -> tuple[str, ...]:
        """Names that `terms` returns besides the terms of the loss, for the logs only."""
        return ()

    @property
    def files(self) -> dict[str, Path]:
        """Files that arguments name, by argument: a run keeps copies of them."""
        return {}

    @property
    def term_names(self) -> tuple[str, ...]:
        """Names of the terms of the loss, as they are logged."""
        return tuple(self.loss_weights(Progress()))

    def add_average(self, variable: Any, initializer: str = "zeros") -> Any:
        """A non-trainable variable of another's shape, for `after_step` to assign.

        It is the same on all replicas, because what it averages is.

        Args:
            variable: The variable that it will follow.
            initializer: Name of a Keras initializer.

        Returns:
            The variable.
        """
        return self.add_weight(
            shape=variable.shape,
            dtype=variable.dtype,
            initializer=initializer,
            trainable=False,
            # Moving variances do not fit into half precision.
            autocast=False,
            aggregation="only_first_replica",
            name=f"{variable.path.replace('/', '_')}_average",
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, read from the attributes of the same name."""
        own: dict[str, Any] = {}
        classes: tuple[Any, ...] = type(self).__mro__
        for one in classes:
            parameters = inspect.signature(one.__init__).parameters.values()
            own |= {p.name: getattr(self, p.name) for p in parameters if p.name not in _NOT_OWN}
            if one is Method:
                break
        return own

    def get_build_config(self) -> None:
        """The ensemble builds the method, from the network."""


_NOT_OWN = ("self", "args", "kwargs")
