"""Construction of compiled networks and optimizers from a config."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from ml_collections import ConfigDict

from oekd_tf import config as config_module
from oekd_tf import methods
from oekd_tf.core import classes
from oekd_tf.core.errors import ConfigError, as_config_error
from oekd_tf.core.records import StudentSummary
from oekd_tf.methods.offline import Offline
from oekd_tf.methods.parts import losses, metrics
from oekd_tf.methods.parts.network import Network
from oekd_tf.models import optimizers
from oekd_tf.models.attribution.overlay import IntegratedGradientsOverlay
from oekd_tf.models.labelled_student import LabelledStudent
from oekd_tf.models.online_ensemble import OnlineEnsemble
from oekd_tf.models.optimizers import schedules
from oekd_tf.models.pretrained.source import Source
from oekd_tf.models.size import count_flops, count_parameters


@as_config_error(
    ["ensemble.widths", "initial_weights", "ensemble.slice", "method.arguments.teacher"],
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
    initial: Source | None = None,
    class_weight: Sequence[float] | None = None,
    logit_adjustment: Sequence[float] | None = None,
) -> keras.Model:
    """Builds the compiled ensemble, or one student to be trained alone.

    A student alone is the same network as in the ensemble of the same seed, with the same initial
    weights, optimizer and schedule.

    Args:
        config: The config.
        image_shape: (height, width, channels).
        num_classes: Number of classes.
        mean: Mean of each channel, in pixel units.
        std: Standard deviation of each channel, in pixel units.
        steps_per_epoch: Number of steps per epoch, for the learning rate schedule.
        replicas: Number of replicas of the strategy in whose scope this is called.
        teacher: Teacher that the one student is distilled from; None for training on labels only.
        initial: What students begin with; None for random weights.
        class_weight: As of `OnlineEnsemble`.
        logit_adjustment: As of `OnlineEnsemble`.

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
    # A student alone trains its stem, whatever the method does with stem gradients.
    method = "oekd" if config.only_student else config_module.make_method(config)
    ensemble = OnlineEnsemble(
        config_module.make_backbone(
            config, **({"synchronized_batch_norm": True} if synchronized else {})
        ),
        input_shape=image_shape,
        num_classes=num_classes,
        widths=config.ensemble.widths,
        method=method,
        mean=mean,
        std=std,
        shared_stem=config.ensemble.shared_stem,
        class_weight=class_weight,
        logit_adjustment=logit_adjustment,
        initial_weights=initial,
        slice=config.ensemble.slice,
        overlay=_overlay(config),
        dtype=config.precision,
    )
    rates = {}
    if initial is not None and config.optimizer.pretrained_factor != 1:
        rates = ensemble.pretrained_rates(config.optimizer.pretrained_factor)
    optimizer = make_optimizer(config, steps_per_epoch, rates)
    # Without compilation JAX runs operation by operation.
    jit_compile = config.jit_compile or keras.backend.backend() == "jax"
    if not config.only_student:
        ensemble.compile(optimizer, jit_compile=jit_compile)
        ensemble.plan(steps_per_epoch, config.epochs)
        return ensemble
    student = _alone(ensemble.students[config.only_student - 1], teacher, config)
    student.balance(class_weight, logit_adjustment)
    student.compile(
        optimizer,
        # Labels are class indices, or probabilities in training with soft labels.
        loss=losses.label_loss,
        metrics=[keras.metrics.MeanMetricWrapper(metrics.label_accuracy, name="accuracy")],
        jit_compile=jit_compile,
    )
    student.optimizer.build(student.trainable_variables)
    return student


@as_config_error(
    (), "config.schedule.warmup_epochs and config.schedule.step_epochs must suit config.epochs"
)
def make_optimizer(
    config: ConfigDict, steps_per_epoch: int, rates: Mapping[str, float] | None = None
) -> keras.optimizers.Optimizer:
    """Makes the optimizer of a config, with its learning rate schedule.

    Args:
        config: The config.
        steps_per_epoch: Number of steps per epoch, for the learning rate schedule.
        rates: Factors of the learning rate by path of a variable.

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
    common = {
        "l2": config.optimizer.l2,
        "global_clipnorm": config.optimizer.clip_norm or None,
        "rates": rates,
    }
    if config.optimizer.name == "sgd":
        momentum, nesterov = config.optimizer.momentum, config.optimizer.nesterov
        return optimizers.SGD(rate, momentum, nesterov, **common)
    return optimizers.Adam(rate, weight_decay=config.optimizer.weight_decay or None, **common)


@as_config_error(
    ["data.class_weight", "label_loss.logit_adjustment"], "config.data.source must suit the config"
)
def label_balance(config: ConfigDict, data: Any) -> dict[str, Any]:
    """What makes up for classes with few examples, as arguments of `build`.

    Args:
        config: The config.
        data: The data set, whose training labels are counted if they must be.

    Returns:
        `class_weight` and `logit_adjustment`, where the config asks for them.

    Raises:
        ConfigError: A class has no training example.
    """
    found = {}
    if config.data.class_weight == "balanced":
        found["class_weight"] = classes.balanced_weights(data.class_counts)
    if tau := config.label_loss.logit_adjustment:
        found["logit_adjustment"] = classes.logit_adjustment(data.class_counts, tau)
    return found


def describe_students(
    config: ConfigDict, model: keras.Model, test: dict[str, float]
) -> list[StudentSummary]:
    """Sizes and test accuracy of each student, for `summary.json`.

    Args:
        config: The config that the model was built from.
        model: The model from `build`.
        test: Logs of the evaluation on the test split.

    Returns:
        One entry for each student that was trained.
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


def describe_method(config: ConfigDict) -> str:
    """The method of a config in words, with the arguments that are not at their defaults.

    Args:
        config: The config.

    Returns:
        For instance "dml (deep mutual learning), temperature=3.0".
    """
    title = methods.method_class(config.method.name).title
    changed = config_module.changed_arguments(config.method.name, config.method.arguments.to_dict())
    given = [f"{name}={value!r}" for name, value in changed.items()]
    return ", ".join([f"{config.method.name} ({title})" if title else config.method.name, *given])


def _overlay(config: ConfigDict) -> IntegratedGradientsOverlay | None:
    arguments = config.overlay.to_dict()
    # A student alone is trained without one.
    if not arguments["share"] or config.only_student:
        return None
    return IntegratedGradientsOverlay(**arguments, seed=config.seed)


def _alone(branch: keras.Model, teacher: keras.Model | None, config: ConfigDict) -> LabelledStudent:
    if keras.backend.backend() != "tensorflow":
        student = LabelledStudent(branch.inputs, branch.outputs[0], name=branch.name)
        student.dtype_policy = branch.dtype_policy
        return student
    from oekd_tf.models.standalone_student import StandaloneStudent

    student = StandaloneStudent(branch.inputs, branch.outputs[0], name=branch.name)
    # By which Keras knows that half precision's loss must be scaled.
    student.dtype_policy = branch.dtype_policy
    if teacher is not None:
        # With the loss weights of the ensemble, for a fair comparison.
        own = config_module.make_method(config)
        method = Offline(teacher, own.temperature, own.label_weight, own.distillation_weight)
        method.build(
            Network(
                widths=(config.ensemble.widths[config.only_student - 1],),
                num_classes=branch.output_shape[-1],
                stem=(),
                blocks=(),
                features=(),
                students=(branch,),
            )
        )
        student.learn_by(method)
    return student
