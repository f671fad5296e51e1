"""The online ensemble: a branched network that trains all students at once."""

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import ops

from oekd_tf import methods
from oekd_tf.backbones.backbone import Backbone
from oekd_tf.core.keras_internals import BuiltModel, loss_tracker
from oekd_tf.core.types import Tensor
from oekd_tf.core.variables import as_array
from oekd_tf.methods.parts import metrics
from oekd_tf.methods.parts.batch import Batch
from oekd_tf.methods.parts.method import Method
from oekd_tf.methods.parts.network import Network
from oekd_tf.methods.parts.progress import Progress
from oekd_tf.models import optimizers, version_1
from oekd_tf.models.after_epoch import AfterEpoch, split_off
from oekd_tf.models.arguments import check_arguments, check_class_weight, per_class
from oekd_tf.models.attribution.overlay import IntegratedGradientsOverlay
from oekd_tf.models.branches import build_branches
from oekd_tf.models.directions import tell_directions
from oekd_tf.models.pretrained.selection import check_slice
from oekd_tf.models.pretrained.source import find_source, pixels_of, source_of
from oekd_tf.models.pretrained.start import start
from oekd_tf.models.stop_on_nan import StopOnNan
from oekd_tf.models.stored_logits import check_logits, split_labels
from oekd_tf.models.trainer import Trainer


@keras.saving.register_keras_serializable("oekd_tf")
class OnlineEnsemble(BuiltModel, Trainer, keras.Model):
    """Students of falling width that share a stem and learn from labels and from each other.

    Student 1 has width 1 and is the *pseudo teacher*. All students are trained at once, from
    scratch; how they teach each other is the method's, by default `OEKD`: they follow the labels
    and the softened mean of all students' logits, the *ensemble teacher*.

    Calling the ensemble gives `{"student_1": logits, ..., "teacher": logits}`, each float32 of
    shape (batch, classes). `students[i]` is an ordinary functional `keras.Model` named
    `student_<i+1>` from raw images to logits, without what belongs to the method; it shares its
    weights with the ensemble, and can be saved, exported or trained by itself.

    Args:
        backbone: Network family, a `oekd_tf.backbones.Backbone`.
        input_shape: (height, width, channels) of the images. Images are raw pixels from 0 to
            255, uint8 or float; normalisation is part of the network.
        num_classes: Number of classes.
        widths: Fraction of the channels of each student: 1 first, then falling, above 0.
        method: Distillation method, a `oekd_tf.methods.Method` or the name of one.
        mean: Mean that normalisation subtracts, in pixel units: a number, or one per channel. None
            is that of the network that students begin with, or else 127.5.
        std: Standard deviation that it then divides by, likewise.
        shared_stem: Whether students share the stem; otherwise each has a full-width stem of its
            own, and only the method connects them.
        class_weight: A weight for each class in the label loss of training, for classes that have
            few examples: `oekd_tf.classes.balanced_weights(counts)`. Distillation and evaluation
            are not weighed.
        logit_adjustment: A number for each class that the label loss of training adds to the
            logits: `oekd_tf.classes.logit_adjustment(counts, tau)`. The logits that students give
            are without it.
        initial_weights: What students begin with, in place of random weights: a `.keras` file, the
            folder of a finished run, "imagenet" where `keras.applications` has the network, or a
            Keras model. Student 1 has these weights exactly and narrower students a slice of them;
            the classifier is theirs if it has as many classes. Under None a family of `from_keras`
            begins with its model's.
        slice: How channels of narrower students are chosen: "l1", those with the largest kernels;
            "bn_scale", those that batch normalisation scales most; "first"; or "random".
        overlay: Lays integrated gradients over some training images, an
            `oekd_tf.attribution.IntegratedGradientsOverlay`; None leaves images as they are.
        name: Name of the model.
        **kwargs: Other arguments of `keras.Model`, such as `dtype`.

    Call arguments:
        images: Images, (batch, height, width, channels); in training under a method with a view
            per student (batch, students, height, width, channels).
        training: Whether batch normalisation uses the batch's statistics.
        with_parts: Whether to return also the outputs of "stem" and "blocks" and the "features"
            before the classifiers, each a list with an entry per student.

    Raises:
        ValueError: An argument breaks its rule above.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     oekd_tf.backbones.CifarResNet(depth=20),
        ...     input_shape=(32, 32, 3), num_classes=10, widths=(1.0, 0.8, 0.6, 0.4, 0.2),
        ...     method=oekd_tf.methods.OEKD(temperature=2.0))
        >>> ensemble.compile(optimizer="adam")
        >>> ensemble.fit(images, labels, batch_size=128, epochs=30)
        >>> ensemble.students[-1].predict(images)

    Reference:
        Walawalkar, Shen, Savvides, "Online Ensemble Model Compression using Knowledge
        Distillation", ECCV 2020, arXiv 2011.07449, section 3.
    """

    def __init__(
        self,
        backbone: Backbone,
        input_shape: Sequence[int],
        num_classes: int,
        widths: Sequence[float] = (1.0, 0.8, 0.6, 0.4, 0.2),
        *,
        method: Method | str = "oekd",
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        shared_stem: bool = True,
        class_weight: Sequence[float] | None = None,
        logit_adjustment: Sequence[float] | None = None,
        initial_weights: Any = None,
        slice: str = "l1",
        overlay: IntegratedGradientsOverlay | None = None,
        name: str = "online_ensemble",
        **kwargs: Any,
    ):
        version_1.refuse_arguments(kwargs, version_1.CONSTRUCTOR, "OnlineEnsemble")
        widths = tuple(float(width) for width in widths)
        check_arguments(backbone, input_shape, num_classes, widths)
        method = methods.get(method)
        if method.built:
            raise ValueError(
                "method must be one of its own for each ensemble. Received: one that another "
                f"ensemble has, {method.name!r}"
            )
        method.check(len(widths), None)
        _check_overlay(overlay, method)
        super().__init__(name=name, **kwargs)
        self.backbone = backbone
        self.image_shape = tuple(int(size) for size in input_shape)
        self.num_classes = int(num_classes)
        self.widths = widths
        check_slice(slice)
        source = source_of(backbone)
        if initial_weights is not None:
            source = find_source(initial_weights, backbone, self.image_shape)
        self.mean, self.std = pixels_of(mean, std, source, backbone, self.image_shape[-1])
        self.shared_stem = bool(shared_stem)
        self.class_weight = per_class(class_weight, self.num_classes, "class_weight")
        self.logit_adjustment = per_class(logit_adjustment, self.num_classes, "logit_adjustment")

        with _default_policy(self.dtype_policy), self.initial_weights():
            branches = build_branches(
                backbone,
                self.image_shape,
                self.num_classes,
                widths,
                self.mean,
                self.std,
                shared_stem=self.shared_stem,
            )
            # What the students began with, and which of their layers did not.
            self.start = start(branches.students, source, slice) if source else None
            method.build(
                Network(
                    widths=widths,
                    num_classes=self.num_classes,
                    stem=tuple(branches.stem.output_shape),
                    blocks=tuple(tuple(b.shape for b in blocks) for blocks in branches.blocks),
                    features=tuple(tuple(f.shape) for f in branches.features),
                    students=tuple(branches.students),
                )
            )
            method.build_averages(branches.students)
        _check_arguments_are_kept(method)
        # Before the students, because checkpoints hold variables in the order of attributes.
        self.method = method
        self.students = branches.students
        self.prepare_students()
        self._branches = branches
        self.overlay = overlay
        if overlay is not None:
            overlay.follow(self.students, self.mean)
        shares = [method.stem_gradient_share(n, len(widths)) for n in range(1, len(widths) + 1)]
        self._stem_shares = tuple(float(share) for share in shares)
        if not any(self._stem_shares):
            branches.stem.trainable = False

        names = (*method.term_names, *method.logged)
        self._means = [keras.metrics.Mean(name=n) for n in names]
        self._accuracies = [keras.metrics.Mean(name=f"{n}_accuracy") for n in self.output_names]
        self._pseudo_teacher_only = False
        self._stem_frozen = False
        self._plan: tuple[int | None, int | None] = (None, None)
        self._plan_is_given = False
        self.built = True

    @property
    def output_names(self) -> list[str]:
        """Names of the logits in the outputs of a call."""
        return [student.name for student in self.students] + ["teacher"]

    @property
    def log_names(self) -> list[str]:
        """Names of what a step logs; in validation each has "val_" before it."""
        accuracies = [f"{name}_accuracy" for name in self.output_names]
        return ["loss", *self.method.term_names, *self.method.logged, *accuracies]

    def exported_models(self) -> list[keras.Model]:
        """The models that are exported: the students, unless the method delivers others."""
        return self.method.exported(self.students)

    @property
    def adaptation(self) -> list:
        """The method's channel adaptation layers by student and block; empty if it has none.

        Keras stores weights by the attributes in which it finds layers; this one is for
        compatibility with files of version 0.1.
        """
        return getattr(self.method, "adaptation", [])

    @property
    def pseudo_teacher_only(self) -> bool:
        """Whether a training step trains only the stem and student 1, on the label loss.

        May be changed between epochs, as by `oekd_tf.callbacks.PseudoTeacherFirst`; the next step
        is then traced again.
        """
        return self._pseudo_teacher_only

    @pseudo_teacher_only.setter
    def pseudo_teacher_only(self, value: bool) -> None:
        changed = bool(value) != self._pseudo_teacher_only
        self._pseudo_teacher_only = bool(value)
        if changed:
            self._trace_anew()

    @property
    def stem_frozen(self) -> bool:
        """Whether training steps leave the stem as it is, its moving statistics included.

        May be changed between epochs, as by `oekd_tf.callbacks.FrozenStem`; the next step is then
        traced again.
        """
        return self._stem_frozen

    @stem_frozen.setter
    def stem_frozen(self, value: bool) -> None:
        changed = bool(value) != self._stem_frozen
        self._stem_frozen = bool(value)
        if changed:
            self._trace_anew()

    @property
    def trained_variables(self) -> list[keras.Variable]:
        """The variables that a training step updates, in the order of its gradients."""
        trained = self.trainable_variables
        if self.pseudo_teacher_only:
            trained = self.students[0].trainable_variables
        if self.stem_frozen:
            frozen = {id(variable) for variable in self._branches.stem.variables}
            trained = [variable for variable in trained if id(variable) not in frozen]
        return trained

    def pretrained_rates(self, factor: float) -> dict[str, float]:
        """A smaller learning rate for what was trained before, for `oekd_tf.optimizers`.

        Args:
            factor: Factor of the learning rate, above 0.

        Returns:
            The factor by the path of each variable that began with weights of another network.

        Example:
            >>> rates = ensemble.pretrained_rates(0.1)
            >>> ensemble.compile(oekd_tf.optimizers.Adam(1e-3, rates=rates))
        """
        if self.start is None:
            return {}
        return self.start.rates(self.students, factor)

    def plan(self, steps_per_epoch: int, epochs: int) -> None:
        """Sets the length of the training, for loss weights that depend on it.

        `fit` sets it from its own arguments, unless this was called.

        Args:
            steps_per_epoch: Number of steps per epoch, at least 1.
            epochs: Number of epochs of the whole training, those before a resume included, at least
                1.

        Raises:
            ValueError: A number is below 1.
        """
        for name, value in (("steps_per_epoch", steps_per_epoch), ("epochs", epochs)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1. Received: {value}")
        self._plan_is_given = True
        self._set_plan(int(steps_per_epoch), int(epochs))

    def call(self, images: Tensor, training: bool | None = None, with_parts: bool = False) -> dict:
        with self.method.evaluated(self, bool(training)):
            return self._call(images, training, with_parts)

    def _call(self, images: Tensor, training: bool | None, with_parts: bool) -> dict:
        views = self._views(images)
        frozen = bool(training) and self._stem_frozen
        stems = [self._branches.stem(view, training=training and not frozen) for view in views]
        if frozen:
            stems = [ops.stop_gradient(output) for output in stems]
        stem, blocks, features, logits = [], [], [], []
        for index, branch in enumerate(self._branches.branches):
            stem_output = _scale_gradient(stems[index % len(stems)], self._stem_shares[index])
            *student_blocks, seen, student_logits = branch(stem_output, training=training)
            stem.append(stem_output)
            blocks.append(student_blocks)
            features.append(seen)
            logits.append(ops.cast(student_logits, "float32"))
        parts: dict[str, Any] = {"stem": stem, "blocks": blocks, "features": features}
        batch = Batch(
            images=images, logits=logits, students=self.students, training=bool(training), **parts
        )
        outputs = dict(zip(self.output_names, [*logits, self.method.teacher(batch)], strict=True))
        return {**outputs, **parts} if with_parts else outputs

    def compile(self, optimizer: str | keras.optimizers.Optimizer = "adam", **kwargs: Any) -> None:
        """Sets the optimizer; the losses are the method's.

        Args:
            optimizer: Keras optimizer, or the name of one.
            **kwargs: Other arguments of Keras: `jit_compile`, `run_eagerly`, `steps_per_execution`,
                `auto_scale_loss`. `jit_compile="auto"`, the default, means no XLA on a CPU under
                TensorFlow, where it doubles the time to the first step and gains nothing.

        Raises:
            ValueError: `loss`, `metrics` or arguments of the method are given.

        Example:
            >>> ensemble.compile(optimizer="adam")
        """
        version_1.refuse_arguments(kwargs, version_1.COMPILE, "compile")
        for argument in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if kwargs.get(argument) is not None:
                raise ValueError(
                    "An online ensemble has its own losses and metrics, which are its method's: "
                    "OnlineEnsemble(..., method=oekd_tf.methods.OEKD(label_weight=0.7)). "
                    f"Received: {argument}={kwargs[argument]!r}"
                )
        kwargs["jit_compile"] = self.choose_jit_compile(kwargs.get("jit_compile", "auto"))
        super().compile(optimizer=optimizers.get(optimizer), **kwargs)
        # An optimizer that has trained a model keeps its variables.
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)

    def get_compile_config(self) -> dict[str, Any] | None:
        if not self.compiled:
            return None
        inherited = ("optimizer", "run_eagerly", "steps_per_execution", "jit_compile")
        config = super().get_compile_config()
        plan = {"plan": list(self._plan)} if self._plan_is_given else {}
        return {**{argument: config[argument] for argument in inherited}, **plan}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        config = version_1.compile_config(
            self.method, keras.saving.deserialize_keras_object(config)
        )
        if plan := config.pop("plan", None):
            self.plan(*plan)
        self.compile(**config)

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Trains all students; arguments are those of `keras.Model.fit`.

        Labels may be a dict of "labels" and "teacher_logits", for a method whose teacher is
        "stored".
        """
        bound = inspect.signature(super().fit).bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        if not self._plan_is_given:
            self._set_plan(self._plan[0], given["epochs"])
        if self.method.follows_epochs:
            split_off(given)
            given["callbacks"] = AfterEpoch.added(given["callbacks"], given["validation_data"])
        if self.compiled and not self.asserts_finite():
            given["callbacks"] = StopOnNan.added(given["callbacks"])
        check_class_weight(given["class_weight"], self.num_classes)
        self.check_arrays(split_labels(given["y"])[0], given["validation_data"])
        tell_directions(given["callbacks"], self.log_names)
        if self.compiled and not as_array(self.optimizer.iterations):
            self.method.before_training(self, given)
        return super().fit(**given)

    def before_first_step(self, steps_per_epoch: int | None) -> None:
        if not self._plan_is_given and steps_per_epoch:
            self._set_plan(steps_per_epoch, self._plan[1])

    @property
    def metrics(self) -> list[keras.Metric]:
        trackers = [loss_tracker(self)] if self.compiled else []
        return [*trackers, *self._means, *self._accuracies]

    def loss_terms(
        self,
        labels: Tensor,
        outputs: dict,
        sample_weight: Tensor | None = None,
        *,
        images: Tensor | None = None,
        training: bool = False,
        stored: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The method's terms of the loss, each summed over students and averaged over the batch.

        Args:
            labels: Class indices (batch,), or class probabilities (batch, classes).
            outputs: Outputs of a call `with_parts=True`.
            sample_weight: Weights of the examples in the label loss, (batch,).
            images: Images of the call.
            training: Whether `pseudo_teacher_only` applies, under which all terms but student 1's
                label loss are left out; evaluation has all terms.
            stored: Stored logits of a teacher, (batch, classes), for a method that follows them.

        Returns:
            Scalars by name, such as "label_loss", without weights; 0 for terms that the method
            leaves out. What the method only logs is there too.
        """
        if stored is not None:
            check_logits(stored, self.num_classes, self.method)
            stored = ops.stop_gradient(ops.cast(stored, "float32"))
        batch = Batch(
            images=images,
            labels=labels,
            sample_weight=sample_weight,
            stored=stored,
            stem=outputs["stem"],
            blocks=outputs["blocks"],
            features=outputs["features"],
            logits=[outputs[student.name] for student in self.students],
            teacher=outputs["teacher"],
            students=self.students,
            training=training,
            class_weight=self.class_weight if training else None,
            logit_adjustment=self.logit_adjustment if training else None,
            progress=self._progress(training),
        )
        if training and self._pseudo_teacher_only:
            found = {"label_loss": batch.label_loss(batch.logits[0])}
        else:
            with self.method.evaluated(self, training):
                found = self.method.terms(batch)
        names = (*self.method.term_names, *self.method.logged)
        strange = found.keys() - set(names)
        if strange:
            raise ValueError(
                f"terms must have the names of loss_weights, {', '.join(self.method.term_names)}. "
                f"Received: {', '.join(sorted(strange))}"
            )
        for name, term in found.items():
            if len(term.shape) > 1:
                raise ValueError(
                    "terms must give one value an example, or a scalar. "
                    f"Received: {name} of shape {tuple(term.shape)}"
                )
        zero = ops.zeros((), dtype="float32")
        return {name: _batch_mean(found[name]) if name in found else zero for name in names}

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: dict | None = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        """The loss of a batch; also updates the trackers of its terms.

        Args:
            x: Images.
            y: Labels, as in `loss_terms`; or a dict of "labels" and "teacher_logits".
            y_pred: Outputs of a call `with_parts=True`.
            sample_weight: Weights of the examples, as in `loss_terms`.
            training: Whether `pseudo_teacher_only` and the progress of training apply; evaluation
                has all terms with their final weights.

        Returns:
            The mean loss of the batch, a scalar.
        """
        self.check_labels_given(y)
        assert y_pred is not None, "Keras passes the outputs of a call"
        labels, stored = split_labels(y)
        terms = self.loss_terms(
            labels, y_pred, sample_weight, images=x, training=training, stored=stored
        )
        return self.weigh(terms, ops.shape(x)[0], training)

    def weigh(self, terms: dict[str, Tensor], size: Any, training: bool) -> Tensor:
        """The weighted sum of the terms; also updates their trackers.

        Args:
            terms: Terms of the loss, from `loss_terms`.
            size: Number of examples.
            training: Whether the progress of training applies.

        Returns:
            The loss, a scalar.
        """
        for tracker in self._means:
            tracker.update_state(terms[tracker.name], sample_weight=size)
        weights = self.method.loss_weights(self._progress(training))
        first, *others = (weights[name] * terms[name] for name in self.method.term_names)
        return first + sum(others) if others else first

    def compute_metrics(
        self, x: Tensor, y: Tensor, y_pred: dict, sample_weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Updates each student's and the teacher's accuracy, unweighted, and returns all logs."""
        del sample_weight
        logits = ops.stack([y_pred[name] for name in self.output_names])
        correct = metrics.label_accuracy(split_labels(y)[0], logits)
        size = ops.shape(x)[0]
        for index, tracker in enumerate(self._accuracies):
            tracker.update_state(_batch_mean(correct[index]), sample_weight=size)
        return self.get_metrics_result()

    def check_labels_given(self, labels: Tensor | None) -> None:
        """Raises a ValueError if labels are missing."""
        if labels is None:
            raise ValueError("An online ensemble learns from labels. Received: no labels (y=None)")

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "input_shape": list(self.image_shape),
            "num_classes": self.num_classes,
            "widths": list(self.widths),
            "method": keras.saving.serialize_keras_object(self.method),
            "mean": list(self.mean),
            "std": list(self.std),
            "shared_stem": self.shared_stem,
            "class_weight": self.class_weight and list(self.class_weight),
            "logit_adjustment": self.logit_adjustment and list(self.logit_adjustment),
            "overlay": self.overlay and keras.saving.serialize_keras_object(self.overlay),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> Any:
        config = version_1.constructor_config(dict(config))
        # Keras finds only classes that have been imported.
        for name in methods.names():
            methods.method_class(name)
        for part in ("backbone", "method", "overlay"):
            if isinstance(config.get(part), dict):
                config[part] = keras.saving.deserialize_keras_object(
                    config[part], custom_objects=custom_objects
                )
        if isinstance(config.get("dtype"), dict):
            config["dtype"] = keras.saving.deserialize_keras_object(config["dtype"])
        return cls(**config)

    def _views(self, images: Tensor) -> list[Tensor]:
        """One batch of images for all students, or one for each student."""
        if len(images.shape) != 5:
            return [images]
        return [images[:, index] for index in range(len(self.students))]

    def _progress(self, training: bool) -> Progress:
        if not training:
            return Progress()
        return Progress(self.steps_done(), *self._plan)

    def _set_plan(self, steps_per_epoch: int | None, epochs: int | None) -> None:
        changed = (steps_per_epoch, epochs) != self._plan
        self._plan = (steps_per_epoch, epochs)
        if changed and self._depends_on_plan():
            self._trace_anew()

    def _depends_on_plan(self) -> bool:
        if self.overlay is not None:
            return True
        try:
            self.method.loss_weights(Progress(step=0))
        except ValueError:
            return True
        return False

    def _trace_anew(self) -> None:
        """Lets the next training step be traced again."""
        if getattr(self, "train_function", None) is not None:
            self.make_train_function(force=True)


@contextlib.contextmanager
def _default_policy(policy: Any) -> Iterator[None]:
    """Sets Keras's policy while layers are made: a saved ensemble is restored with its own."""
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)


def _scale_gradient(value: Tensor, share: float) -> Tensor:
    if share == 1.0:
        return value
    if share == 0.0:
        return ops.stop_gradient(value)
    return share * value + ops.stop_gradient((1.0 - share) * value)


def _check_overlay(overlay: IntegratedGradientsOverlay | None, method: Method) -> None:
    if overlay is None:
        return
    if not isinstance(overlay, IntegratedGradientsOverlay) or overlay.built:
        received = "one that another ensemble has" if hasattr(overlay, "built") else repr(overlay)
        raise ValueError(
            "overlay must be None or an oekd_tf.attribution.IntegratedGradientsOverlay of this "
            f"ensemble's own. Received: {received}"
        )
    if method.is_stored:
        raise ValueError(
            "overlay must be None with stored logits, which are of images as they are. "
            f"Received: an overlay with {method.name!r}"
        )


def _check_arguments_are_kept(method: Method) -> None:
    try:
        method.get_config()
    except AttributeError as error:
        raise ValueError(
            "method must keep the arguments of its constructor as attributes of the same names, "
            f"because it is saved with them. Received: {error}"
        ) from error


def _batch_mean(values: Tensor) -> Tensor:
    if not len(values.shape):
        return values
    # The mean is 0, not 0 / 0, on a replica without an example of the last batch.
    size = ops.cast(ops.shape(values)[0], values.dtype)
    return ops.sum(values) / ops.maximum(size, 1.0)
