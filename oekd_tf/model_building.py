"""From a config to a compiled network, on any backend of Keras."""

from collections.abc import Sequence
from typing import Any

import keras
from ml_collections import ConfigDict

from oekd_tf import config as config_module
from oekd_tf import losses, optimizers, schedules
from oekd_tf.config_errors import ConfigError, naming
from oekd_tf.ensemble import OnlineEnsemble
from oekd_tf.model_size import count_flops, count_parameters


@naming(
    ["ensemble.widths", "ensemble.teacher_weights"],
    "config.backbone.name, config.backbone.arguments and config.ensemble.widths must give a "
    "network for images and classes of config.data.source at config.data.image_size",
)
def build(
    config: ConfigDict,
    image_shape: Sequence[int],
    num_classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    steps_per_epoch: int,
    *,
    replicas: int = 1,
    teacher: keras.Model | None = None,
) -> keras.Model:
    """The compiled ensemble, or the one student that is to be trained alone.

    A student alone is the very network that it is in the ensemble of the same seed, with the same
    initial weights, under the same optimizer and schedule.

    Args:
        config: The config.
        image_shape: (height, width, channels).
        num_classes: Number of classes.
        mean: What normalisation subtracts, one a channel.
        std: What it then divides by, one a channel.
        steps_per_epoch: Turns the schedule's epochs into steps.
        replicas: That train it, under the strategy in whose scope this is called.
        teacher: That the one student is distilled from; it learns from labels only without one.

    Returns:
        A compiled `OnlineEnsemble`, or a compiled functional model.

    Raises:
        ConfigError: A rule of the networks is broken.
    """
    keras.utils.set_random_seed(config.seed)
    if config.batch_size % replicas:
        raise ConfigError(
            f"config.batch_size must divide by the number of replicas, {replicas}. "
            f"Received: {config.batch_size}"
        )
    synchronized = config.synchronized_batch_norm and replicas > 1
    ensemble = OnlineEnsemble(
        config_module.make_backbone(config, synchronized_batch_norm=synchronized),
        input_shape=image_shape,
        num_classes=num_classes,
        widths=config.ensemble.widths,
        mean=mean,
        std=std,
        teacher_weights=tuple(config.ensemble.teacher_weights) or None,
        # A student alone has no other's gradient to keep out.
        stem_gradient="all" if config.only_student else config.ensemble.stem_gradient,
        shared_stem=config.ensemble.shared_stem,
        train_adaptation=config.ensemble.train_adaptation,
        adaptation_initializer=config.ensemble.adaptation_initializer,
        dtype=config.precision,
    )
    optimizer = make_optimizer(config, steps_per_epoch)
    # Without compilation JAX runs operation by operation.
    jit_compile = config.jit_compile or keras.backend.backend() == "jax"
    if not config.only_student:
        ensemble.compile(
            optimizer,
            temperature=config.loss.temperature,
            label_weight=config.loss.label_weight,
            feature_weight=config.loss.feature_weight,
            distillation_weight=config.loss.distillation_weight,
            distillation_target=config.loss.distillation_target,
            feature_scale=config.loss.feature_scale,
            distillation_warmup_steps=round(config.loss.warmup_epochs * steps_per_epoch),
            jit_compile=jit_compile,
        )
        return ensemble
    student = _alone(ensemble.students[config.only_student - 1], teacher, config)
    student.compile(
        optimizer,
        # Labels are class indices or, in training with soft labels, probabilities.
        loss=losses.label_loss,
        metrics=[keras.metrics.MeanMetricWrapper(losses.label_accuracy, name="accuracy")],
        jit_compile=jit_compile,
    )
    student.optimizer.build(student.trainable_variables)
    return student


@naming((), "config.schedule.warmup_epochs and config.schedule.step_epochs must suit config.epochs")
def make_optimizer(config: ConfigDict, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """The optimizer and learning rate schedule that a config names.

    Args:
        config: The config.
        steps_per_epoch: Turns the schedule's epochs into steps.

    Returns:
        A Keras optimizer.
    """
    rate, schedule = config.optimizer.learning_rate, config.schedule
    if schedule.name == "step":
        steps = [epoch * steps_per_epoch for epoch in schedule.step_epochs]
        rate = schedules.step_decay(rate, steps, schedule.step_factor)
    elif schedule.name == "cosine":
        warmup = round(schedule.warmup_epochs * steps_per_epoch)
        total = config.epochs * steps_per_epoch
        rate = schedules.cosine(rate, total, warmup, schedule.final_fraction)
    common = {"l2": config.optimizer.l2, "global_clipnorm": config.optimizer.clip_norm or None}
    if config.optimizer.name == "sgd":
        momentum, nesterov = config.optimizer.momentum, config.optimizer.nesterov
        return optimizers.SGD(rate, momentum, nesterov, **common)
    return optimizers.Adam(rate, weight_decay=config.optimizer.weight_decay or None, **common)


def describe_students(
    config: ConfigDict, model: keras.Model, test: dict[str, float]
) -> list[dict[str, Any]]:
    """Sizes and test accuracy of each student, as `summary.json` has them.

    Args:
        config: That the model was built from.
        model: As `build` returns it.
        test: What evaluation on the test split logged.

    Returns:
        One entry a student that was trained.
    """
    ensemble = isinstance(model, OnlineEnsemble)
    students = model.students if ensemble else [model]
    numbers = range(1, len(students) + 1) if ensemble else [config.only_student]
    return [
        {
            "name": f"student_{number}",
            "width": float(config.ensemble.widths[number - 1]),
            "parameters": count_parameters(student),
            "flops": count_flops(student),
            "test_accuracy": test[f"student_{number}_accuracy" if ensemble else "accuracy"],
        }
        for number, student in zip(numbers, students, strict=True)
    ]


def _alone(branch: keras.Model, teacher: keras.Model | None, config: ConfigDict) -> keras.Model:
    if keras.backend.backend() != "tensorflow":
        return keras.Model(branch.inputs, branch.outputs[0], name=branch.name)
    from oekd_tf.lone_student import LoneStudent
    from oekd_tf.offline_student import OfflineStudent

    if teacher is None:
        return LoneStudent(branch.inputs, branch.outputs[0], name=branch.name)
    student = OfflineStudent(branch.inputs, branch.outputs[0], name=branch.name)
    student.distil_from(
        teacher,
        temperature=config.loss.temperature,
        label_weight=config.loss.label_weight,
        distillation_weight=config.loss.distillation_weight,
    )
    return student
