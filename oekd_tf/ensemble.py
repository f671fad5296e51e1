"""The branched network that trains all students at once."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from oekd_tf import losses, optimizers, schedules
from oekd_tf.backbones.backbone import Backbone
from oekd_tf.branches import build_branches

Tensor = Any

STEM_GRADIENTS = ("all", "pseudo_teacher", "none")
DISTILLATION_TARGETS = ("ensemble", "peers")
FEATURE_SCALES = ("absolute", "relative")


@keras.saving.register_keras_serializable("oekd_tf")
class OnlineEnsemble(keras.Model):
    """Students of falling width that share a stem and learn from labels and from each other.

    Student 1 has width 1 and is the *pseudo teacher*: the others' block outputs, through 1×1
    *channel adaptation layers*, follow its own. The mean of all students' logits is the *ensemble
    teacher*: every student follows its softened output. All are trained at once, from scratch.

    Calling the ensemble gives `{"student_1": logits, ..., "teacher": logits}`, each float32 of
    shape (batch, classes). `students[i]` is an ordinary functional `keras.Model` named
    `student_<i+1>` from raw images to logits, without adaptation layers; it shares its weights
    with the ensemble, and can be saved, exported or trained by itself.

    Args:
        backbone: A `oekd_tf.backbones.Backbone`.
        input_shape: (height, width, channels) of the images. Images are raw pixels from 0 to
            255, uint8 or float; normalisation is part of the network.
        num_classes: Number of classes.
        widths: Fraction of the channels of each student: 1 first, then falling, above 0.
        mean: What normalisation subtracts, in pixel units: a number, or one a channel.
        std: What normalisation then divides by, likewise.
        teacher_weights: One weight a student for the ensemble teacher, scaled to sum to 1;
            uniform when None.
        stem_gradient: Whose gradient trains the stem: "all" students', the "pseudo_teacher"'s
            alone, or "none": the stem stays as initialised and is not trainable.
        shared_stem: Whether students share the stem; without, each has one of its own, all of full
            width, and nothing but the losses connects them.
        train_adaptation: Whether the channel adaptation layers are trained. The paper trains
            them; in the authors' published code they keep their random initial values.
        adaptation_initializer: Of the channel adaptation layers' kernels: the name of a Keras
            initializer, such as "glorot_uniform", "he_normal", "orthogonal" or "zeros".

    Call arguments:
        images: Shape (batch, height, width, channels).
        training: Whether batch normalisation uses the batch's statistics.
        with_blocks: Also return, under "blocks", each student's block outputs, and under
            "adapted", those of students 2 and up after channel adaptation.

    Raises:
        ValueError: An argument breaks its rule above.

    Example:
        >>> ensemble = oekd_tf.OnlineEnsemble(
        ...     oekd_tf.backbones.CifarResNet(depth=20),
        ...     input_shape=(32, 32, 3), num_classes=10, widths=(1.0, 0.8, 0.6, 0.4, 0.2))
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
        mean: float | Sequence[float] = 127.5,
        std: float | Sequence[float] = 127.5,
        teacher_weights: Sequence[float] | None = None,
        stem_gradient: str = "all",
        shared_stem: bool = True,
        train_adaptation: bool = True,
        adaptation_initializer: str = "glorot_uniform",
        name: str = "online_ensemble",
        **kwargs: Any,
    ):
        widths = tuple(float(width) for width in widths)
        _check_arguments(backbone, input_shape, num_classes, widths, teacher_weights, stem_gradient)
        _check_initializer(adaptation_initializer)
        super().__init__(name=name, **kwargs)
        self.backbone = backbone
        self.image_shape = tuple(int(size) for size in input_shape)
        self.num_classes = int(num_classes)
        self.widths = widths
        self.mean = _per_channel(mean, self.image_shape[-1], "mean")
        self.std = _per_channel(std, self.image_shape[-1], "std")
        self.teacher_weights = _normalise(teacher_weights)
        self.stem_gradient = stem_gradient
        self.shared_stem = bool(shared_stem)
        self.train_adaptation = bool(train_adaptation)
        self.adaptation_initializer = adaptation_initializer

        # The policy holds while the layers are made, so that a saved ensemble gets its own back.
        previous = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.dtype_policy)
        try:
            branches = build_branches(
                backbone,
                self.image_shape,
                self.num_classes,
                widths,
                self.mean,
                self.std,
                shared_stem=self.shared_stem,
            )
            self.adaptation = [
                [
                    layers.Conv2D(
                        target.shape[-1],
                        1,
                        # By name: each layer then makes one of its own, with numbers of its own.
                        kernel_initializer=adaptation_initializer,
                        name=f"student_{number}_block_{block}_adaptation",
                    )
                    for block, target in enumerate(branches.blocks[0], start=1)
                ]
                for number in range(2, len(widths) + 1)
            ]
        finally:
            keras.config.set_dtype_policy(previous)
        self.students = branches.students
        if keras.backend.backend() == "tensorflow":
            from oekd_tf.fused_batch_norm import fuse_batch_norm
            from oekd_tf.strided_convolution import subsample_first

            for student in self.students:
                fuse_batch_norm(student)
                subsample_first(student)
        self._branches = branches
        for student_layers, blocks in zip(self.adaptation, branches.blocks[1:], strict=True):
            for layer, block in zip(student_layers, blocks, strict=True):
                layer.build(block.shape)
                layer.trainable = self.train_adaptation
        if stem_gradient == "none":
            branches.stem.trainable = False

        self._means = [
            keras.metrics.Mean(name=n) for n in ("label_loss", "feature_loss", "distillation_loss")
        ]
        self._accuracies = [keras.metrics.Mean(name=f"{n}_accuracy") for n in self.output_names]
        self._pseudo_teacher_only = False
        self._steps_done: Any = None
        self.built = True

    @property
    def output_names(self) -> list[str]:
        """Names of the logits that a call returns."""
        return [student.name for student in self.students] + ["teacher"]

    @property
    def has_feature_loss(self) -> bool:
        """Whether the compiled loss compares block outputs."""
        return self.feature_weight > 0

    @property
    def pseudo_teacher_only(self) -> bool:
        """Whether a training step trains the stem and student 1 alone, on the label loss.

        May be switched between epochs, as `oekd_tf.callbacks.PseudoTeacherFirst` does; the next
        step is then traced anew.
        """
        return self._pseudo_teacher_only

    @pseudo_teacher_only.setter
    def pseudo_teacher_only(self, value: bool) -> None:
        changed = bool(value) != self._pseudo_teacher_only
        self._pseudo_teacher_only = bool(value)
        if changed and self.train_function is not None:
            self.make_train_function(force=True)

    def call(self, images: Tensor, training: bool | None = None, with_blocks: bool = False) -> dict:
        stem_output = self._branches.stem(images, training=training)
        blocks, logits = [], []
        for index, branch in enumerate(self._branches.branches):
            detach = index > 0 and self.stem_gradient == "pseudo_teacher"
            branch_input = ops.stop_gradient(stem_output) if detach else stem_output
            *student_blocks, student_logits = branch(branch_input, training=training)
            blocks.append(student_blocks)
            logits.append(ops.cast(student_logits, "float32"))
        teacher = losses.ensemble_logits(ops.stack(logits), self.teacher_weights)
        outputs = dict(zip(self.output_names, [*logits, teacher], strict=True))
        if with_blocks:
            outputs["blocks"] = blocks
            outputs["adapted"] = [
                [layer(block) for layer, block in zip(*pair, strict=True)]
                for pair in zip(self.adaptation, blocks[1:], strict=True)
            ]
        return outputs

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        *,
        temperature: float = 2.0,
        label_weight: float = 0.7,
        feature_weight: float = 0.15,
        distillation_weight: float = 0.15,
        distillation_target: str = "ensemble",
        feature_scale: str = "absolute",
        distillation_warmup_steps: int = 0,
        jit_compile: bool | str = "auto",
        **kwargs: Any,
    ) -> None:
        """Sets the optimizer and the loss α L_N + β L_I + γ L_D (equation 8).

        Args:
            optimizer: Any Keras optimizer, or its name.
            temperature: T of the distillation loss, above 0.
            label_weight: α, of the cross-entropy with the labels, at least 0.
            feature_weight: β, of the intermediate feature loss, at least 0. With 0 it is not
                computed, its log is 0, and the channel adaptation layers keep their values.
            distillation_weight: γ, of the divergence from the ensemble teacher, at least 0.
            distillation_target: Whose softened output a student follows: the "ensemble" teacher's,
                or each of its "peers"', as in deep mutual learning (arXiv 1706.00384).
            feature_scale: "absolute", the paper's mean squared error, or "relative": divided by
                the mean square of the pseudo teacher's block output, which grows with depth.
            distillation_warmup_steps: Training steps of the optimizer over which β and γ rise
                linearly from 0; evaluation has them whole. 0 is the paper's: whole from the start.
            jit_compile: Whether to compile steps with XLA. "auto" means no on a CPU under
                TensorFlow, where it doubles the time to the first step and gains nothing.
            **kwargs: Others of `keras.Model.compile`: `run_eagerly`, `steps_per_execution`,
                `auto_scale_loss`.

        Raises:
            ValueError: A weight or the temperature is out of range, or `loss` or `metrics` are
                given: the ensemble brings its own.

        Example:
            >>> ensemble.compile(optimizer="adam", temperature=2.0, label_weight=0.7,
            ...                  feature_weight=0.15, distillation_weight=0.15)
        """
        for argument in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if kwargs.get(argument) is not None:
                raise ValueError(
                    "An online ensemble has its own losses and metrics; weigh them with "
                    "label_weight, feature_weight and distillation_weight. "
                    f"Received: {argument}={kwargs[argument]!r}"
                )
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"temperature must be above 0. Received: {temperature}")
        weights = {
            "label_weight": label_weight,
            "feature_weight": feature_weight,
            "distillation_weight": distillation_weight,
        }
        for argument, weight in weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"{argument} must be at least 0. Received: {weight}")
        if distillation_target not in DISTILLATION_TARGETS:
            raise ValueError(
                f"distillation_target must be one of {DISTILLATION_TARGETS}. "
                f"Received: {distillation_target!r}"
            )
        if distillation_target == "peers" and len(self.students) < 2:
            raise ValueError(
                "distillation_target 'peers' must have two students at least. Received: 1"
            )
        if feature_scale not in FEATURE_SCALES:
            raise ValueError(
                f"feature_scale must be one of {FEATURE_SCALES}. Received: {feature_scale!r}"
            )
        if not isinstance(distillation_warmup_steps, int) or distillation_warmup_steps < 0:
            raise ValueError(
                "distillation_warmup_steps must be a whole number, at least 0. "
                f"Received: {distillation_warmup_steps!r}"
            )
        if jit_compile == "auto" and keras.backend.backend() == "tensorflow":
            from oekd_tf.tensorflow_step import has_accelerator

            jit_compile = "auto" if has_accelerator() else False
        self.temperature = float(temperature)
        self.label_weight = float(label_weight)
        self.feature_weight = float(feature_weight)
        self.distillation_weight = float(distillation_weight)
        self.distillation_target = distillation_target
        self.feature_scale = feature_scale
        self.distillation_warmup_steps = distillation_warmup_steps
        super().compile(optimizer=optimizers.get(optimizer), jit_compile=jit_compile, **kwargs)
        # An optimizer shared with what was trained before keeps the variables that it has.
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)

    def get_compile_config(self) -> dict[str, Any] | None:
        if not self.compiled:
            return None
        inherited = ("optimizer", "run_eagerly", "steps_per_execution", "jit_compile")
        config = super().get_compile_config()
        return {
            **{argument: config[argument] for argument in inherited},
            "temperature": self.temperature,
            "label_weight": self.label_weight,
            "feature_weight": self.feature_weight,
            "distillation_weight": self.distillation_weight,
            "distillation_target": self.distillation_target,
            "feature_scale": self.feature_scale,
            "distillation_warmup_steps": self.distillation_warmup_steps,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))

    @property
    def metrics(self) -> list[keras.Metric]:
        trackers = [self._loss_tracker] if self.compiled else []
        return [*trackers, *self._means, *self._accuracies]

    def loss_terms(
        self,
        labels: Tensor,
        outputs: dict,
        sample_weight: Tensor | None = None,
        pseudo_teacher_only: bool = False,
    ) -> dict[str, Tensor]:
        """The three terms of the loss, each summed over students and averaged over the batch.

        Args:
            labels: Class indices (batch,), or class probabilities (batch, classes).
            outputs: What a call `with_blocks=True` returned; without blocks the feature loss is 0.
            sample_weight: One weight an example for the label loss, shape (batch,).
            pseudo_teacher_only: Leave out all but student 1's label loss.

        Returns:
            Scalars under "label_loss", "feature_loss" and "distillation_loss", not yet weighed.
        """
        number = 1 if pseudo_teacher_only else len(self.students)
        logits = ops.stack([outputs[name] for name in self.output_names[:number]])
        label_loss = losses.label_loss(labels, logits)
        if sample_weight is not None:
            weights = ops.reshape(ops.cast(sample_weight, label_loss.dtype), (-1,))
            label_loss = label_loss * weights
        terms = {"label_loss": _batch_mean(ops.sum(label_loss, axis=0))}
        zero = ops.zeros((), dtype="float32")
        terms["feature_loss"] = terms["distillation_loss"] = zero
        if pseudo_teacher_only:
            return terms
        if "adapted" in outputs and len(self.students) > 1:
            per_block = [
                losses.feature_loss(target, adapted, relative=self.feature_scale == "relative")
                for student in outputs["adapted"]
                for target, adapted in zip(outputs["blocks"][0], student, strict=True)
            ]
            terms["feature_loss"] = _batch_mean(sum(per_block))
        if self.distillation_target == "peers":
            divergence = losses.mutual_loss(logits, self.temperature)
        else:
            divergence = losses.distillation_loss(outputs["teacher"], logits, self.temperature)
        terms["distillation_loss"] = _batch_mean(ops.sum(divergence, axis=0))
        return terms

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: dict | None = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        """The loss of a batch; also updates the trackers of its three terms.

        Args:
            x: Images.
            y: Labels, as in `loss_terms`.
            y_pred: What a call returned, `with_blocks=True` if there `has_feature_loss`.
            sample_weight: As in `loss_terms`.
            training: Whether `pseudo_teacher_only` and the warm-up of the weights count;
                evaluation always gives all terms, whole.

        Returns:
            A scalar, averaged over the batch.
        """
        if y is None:
            raise ValueError("An online ensemble learns from labels. Received: no labels (y=None)")
        pseudo_teacher_only = training and self._pseudo_teacher_only
        terms = self.loss_terms(y, y_pred, sample_weight, pseudo_teacher_only)
        scales = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        if training and not scales and keras.backend.backend() == "tensorflow":
            from oekd_tf.batch_checks import check_terms

            terms = check_terms(terms)
        size = ops.shape(x)[0]
        for tracker in self._means:
            tracker.update_state(terms[tracker.name], sample_weight=size)
        share = 1.0
        if training and self.distillation_warmup_steps:
            done = self.optimizer.iterations if self._steps_done is None else self._steps_done
            share = schedules.warmup_share(done, self.distillation_warmup_steps)
        return self.label_weight * terms["label_loss"] + share * (
            self.feature_weight * terms["feature_loss"]
            + self.distillation_weight * terms["distillation_loss"]
        )

    def compute_metrics(
        self, x: Tensor, y: Tensor, y_pred: dict, sample_weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Updates each student's and the teacher's accuracy, unweighted, and returns all logs."""
        del sample_weight
        logits = ops.stack([y_pred[name] for name in self.output_names])
        correct = losses.label_accuracy(y, logits)
        size = ops.shape(x)[0]
        for index, tracker in enumerate(self._accuracies):
            tracker.update_state(_batch_mean(correct[index]), sample_weight=size)
        return self.get_metrics_result()

    def make_train_function(self, force: bool = False) -> Any:
        if self.train_function is None or force:
            super().make_train_function(force=force)
            self.train_function = self._with_clear_errors(self.train_function, training=True)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Any:
        if self.test_function is None or force:
            super().make_test_function(force=force)
            self.test_function = self._with_clear_errors(self.test_function, training=False)
        return self.test_function

    def _with_clear_errors(self, function: Any, training: bool) -> Any:
        if keras.backend.backend() != "tensorflow":
            return function
        from oekd_tf.batch_checks import with_clear_errors

        return with_clear_errors(function, self, training)

    def train_step(self, *args: Any) -> Any:
        """One step of all students: `(data)` under TensorFlow, `(state, data)` under JAX."""
        if keras.backend.backend() == "tensorflow":
            from oekd_tf.tensorflow_step import train_step

            return train_step(self, *args)
        return super().train_step(*args)

    def test_step(self, *args: Any) -> Any:
        """The losses and accuracies of a batch; arguments as in `train_step`."""
        if keras.backend.backend() == "tensorflow":
            from oekd_tf.tensorflow_step import test_step

            return test_step(self, *args)
        return super().test_step(*args)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        # All is built already. Keras would read a batch to find that out, and fail where the batch
        # is one of several hosts (https://github.com/keras-team/keras/issues/20585).
        del iterator, data_batch

    def compute_loss_and_updates(
        self,
        trainable_variables: list,
        non_trainable_variables: list,
        metrics_variables: list,
        x: Tensor,
        y: Tensor,
        sample_weight: Tensor | None,
        training: bool = False,
        optimizer_variables: list | None = None,
    ) -> tuple:
        """The stateless loss that Keras's JAX trainer differentiates, with the block outputs."""
        outputs, non_trainable_variables = self.stateless_call(
            trainable_variables,
            non_trainable_variables,
            x,
            training=training,
            with_blocks=self.has_feature_loss,
        )
        state = []
        if training:
            state = list(zip(self.optimizer.variables, optimizer_variables, strict=True))
            with keras.StatelessScope(state_mapping=state):
                # The loss is computed in a scope of its own, in which the optimizer's variables
                # would have the values of when the step was traced.
                self._steps_done = ops.convert_to_tensor(self.optimizer.iterations)
        try:
            loss, (trainable_variables, non_trainable_variables, metrics_variables) = (
                self.stateless_compute_loss(
                    trainable_variables,
                    non_trainable_variables,
                    metrics_variables,
                    x=x,
                    y=y,
                    y_pred=outputs,
                    sample_weight=sample_weight,
                    training=training,
                )
            )
        finally:
            self._steps_done = None
        scaled = loss
        if training:
            with keras.StatelessScope(state_mapping=state):
                scaled = self.optimizer.scale_loss(loss)
        return scaled, (loss, outputs, non_trainable_variables, metrics_variables)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "input_shape": list(self.image_shape),
            "num_classes": self.num_classes,
            "widths": list(self.widths),
            "mean": list(self.mean),
            "std": list(self.std),
            "teacher_weights": self.teacher_weights and list(self.teacher_weights),
            "stem_gradient": self.stem_gradient,
            "shared_stem": self.shared_stem,
            "train_adaptation": self.train_adaptation,
            "adaptation_initializer": self.adaptation_initializer,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> Any:
        config = dict(config)
        config["backbone"] = keras.saving.deserialize_keras_object(
            config["backbone"], custom_objects=custom_objects
        )
        if isinstance(config.get("dtype"), dict):
            config["dtype"] = keras.saving.deserialize_keras_object(config["dtype"])
        return cls(**config)


def _batch_mean(values: Tensor) -> Tensor:
    # A replica may get no example of the last batch: its mean is then 0, not 0 / 0.
    size = ops.cast(ops.shape(values)[0], values.dtype)
    return ops.sum(values) / ops.maximum(size, 1.0)


def _normalise(weights: Sequence[float] | None) -> tuple[float, ...] | None:
    if weights is None:
        return None
    return tuple(float(weight) / sum(weights) for weight in weights)


def _per_channel(value: float | Sequence[float], channels: int, name: str) -> tuple[float, ...]:
    values = tuple(float(v) for v in (value if isinstance(value, Sequence) else [value]))
    if len(values) == 1:
        values *= channels
    valid = all(math.isfinite(v) and (name == "mean" or v > 0) for v in values)
    if len(values) != channels or not valid:
        positive = " above 0" if name == "std" else ""
        raise ValueError(
            f"{name} must be one finite number{positive}, or one for each of the {channels} "
            f"channels. Received: {value}"
        )
    return values


def _check_arguments(
    backbone: Backbone,
    input_shape: Sequence[int],
    num_classes: int,
    widths: tuple[float, ...],
    teacher_weights: Sequence[float] | None,
    stem_gradient: str,
) -> None:
    if not (callable(getattr(backbone, "stem", None)) and hasattr(backbone, "branch")):
        raise ValueError(
            "backbone must have the methods stem(images) and branch(stem_output, width, name), "
            f"see oekd_tf.backbones.Backbone. Received: {backbone!r}"
        )
    if len(input_shape) != 3 or any(size is None or size < 1 for size in input_shape):
        raise ValueError(
            f"input_shape must be (height, width, channels). Received: {tuple(input_shape)}"
        )
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2. Received: {num_classes}")
    falling = all(wide > narrow for wide, narrow in itertools.pairwise(widths))
    if not widths or widths[0] != 1 or not falling or widths[-1] <= 0:
        raise ValueError(
            "widths must start with 1 (the pseudo teacher) and fall from there, all above 0. "
            f"Received: {widths}"
        )
    if teacher_weights is not None and (
        len(teacher_weights) != len(widths)
        or not all(math.isfinite(w) and w >= 0 for w in teacher_weights)
        or sum(teacher_weights) <= 0
    ):
        raise ValueError(
            f"teacher_weights must be None or {len(widths)} numbers, one a student, none below 0 "
            f"and not all 0. Received: {teacher_weights}"
        )
    if stem_gradient not in STEM_GRADIENTS:
        raise ValueError(
            f"stem_gradient must be one of {STEM_GRADIENTS}. Received: {stem_gradient!r}"
        )


def _check_initializer(name: str) -> None:
    # Looked up, not made: an initializer that is made takes a number from the global generator,
    # and every layer's initial weights would be other ones.
    if not (isinstance(name, str) and callable(getattr(keras.initializers, name, None))):
        raise ValueError(
            f"adaptation_initializer must be the name of a Keras initializer. Received: {name!r}"
        )
