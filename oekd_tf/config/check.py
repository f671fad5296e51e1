"""Validation of configs: rules of fields, and rules between fields."""

import difflib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from oekd_tf.config import rules
from oekd_tf.config.budgets import budget_fields
from oekd_tf.config.building import make_backbone, make_method, method_arguments
from oekd_tf.config.fields import FIELDS, Field, get
from oekd_tf.config.migration import MOVED
from oekd_tf.core.errors import ConfigError, as_config_error, format_value

if TYPE_CHECKING:
    from oekd_tf.methods.parts.method import Method


def check(config: ConfigDict, *, imports: bool = True) -> None:
    """Checks every field's rule, and the rules between fields.

    Args:
        config: Config, with overrides applied.
        imports: Whether a user's own backbone or method, "module:name", is imported and checked.

    Raises:
        ConfigError: A rule is broken; the message names the field, its rule and the value.
    """
    known = {*FIELDS}
    for path, value in _leaves(config):
        if path not in known:
            raise ConfigError(
                f"config.{path} is no field of a config{nearest(path)}. "
                f"Received: {format_value(value)}"
            )
        known.discard(path)
    if known:
        raise ConfigError(f"config.{min(known)} must be set; start from default_config().")
    for path, field in FIELDS.items():
        check_field(path, field, get(config, path))
    students = _count_students(config)
    if config.only_student > students:
        raise ConfigError(
            f"config.only_student must be at most the number of students, {students}. "
            f"Received: {config.only_student}"
        )
    if max(config.baselines, default=0) > students:
        raise ConfigError(
            f"config.baselines must be at most the number of students, {students}. "
            f"Received: {config.baselines}"
        )
    if config.teacher_workdir and not config.only_student:
        raise ConfigError(
            "config.teacher_workdir must be '' unless config.only_student names the student to "
            f"distil to. Received: {config.teacher_workdir!r}"
        )
    if config.schedule.name == "step" and not config.schedule.step_epochs:
        raise ConfigError(
            "config.schedule.step_epochs must be at least one epoch for the step schedule. "
            "Received: ()"
        )
    if config.schedule.name == "cosine" and config.schedule.warmup_epochs >= config.epochs:
        raise ConfigError(
            f"config.schedule.warmup_epochs must be below config.epochs, {config.epochs}: set "
            "config.epochs higher, or config.schedule.warmup_epochs to 0 for no warm-up. "
            f"Received: {config.schedule.warmup_epochs}"
        )
    if config.export.calibration_batch_size > 1 and config.export.batch_size:
        raise ConfigError(
            "config.export.calibration_batch_size must be 1 unless config.export.batch_size is 0. "
            f"Received: {config.export.calibration_batch_size}"
        )
    if config.logical_cpus and config.strategy != "mirrored":
        raise ConfigError(
            "config.logical_cpus must be 0 unless config.strategy is 'mirrored'. "
            f"Received: {config.logical_cpus} with strategy {config.strategy!r}"
        )
    if config.optimizer.weight_decay and config.optimizer.name != "adamw":
        raise ConfigError(
            "config.optimizer.weight_decay must be 0 unless config.optimizer.name is 'adamw'; "
            f"the others' is config.optimizer.l2. Received: {config.optimizer.weight_decay}"
        )
    if config.ensemble.frozen_stem_epochs and not config.ensemble.shared_stem:
        raise ConfigError(
            "config.ensemble.frozen_stem_epochs must be 0 unless config.ensemble.shared_stem is "
            f"True. Received: {config.ensemble.frozen_stem_epochs}"
        )
    balancing = [
        f"config.{path}={get(config, path)!r}"
        for path in ("data.class_weight", "data.sampling", "label_loss.logit_adjustment")
        if get(config, path) != FIELDS[path].default
    ]
    if len(balancing) > 1:
        raise ConfigError(
            "config.data.class_weight, config.data.sampling and config.label_loss.logit_adjustment "
            "must not be set together: each makes up for rare classes by itself. "
            f"Received: {' and '.join(balancing)}"
        )
    if imports or ":" not in config.backbone.name:
        make_backbone(config, synchronized_batch_norm=False)
    if ":" in config.method.name and not imports:
        return
    method = make_method(config)
    fields = ["ensemble.widths", *(f"method.arguments.{name}" for name in method_arguments(config))]
    with as_config_error(fields, "config.method.arguments must suit the ensemble"):
        method.check(students, config.epochs)
    if method.needs_held_out and not config.data.validation_fraction:
        raise ConfigError(
            "config.data.validation_fraction must be above 0 for a method that estimates weights "
            f"on validation images. Received: 0 with {config.method.name!r} and "
            f"{config.method.arguments.to_dict()}"
        )
    if method.views == "students" and (config.data.mixup or config.data.cutmix):
        raise ConfigError(
            "config.data.mixup and config.data.cutmix must be 0 for a method with an augmentation "
            "for each student; config.method.arguments.views=1 has one for all, where a method "
            f"takes it. Received: {config.data.mixup} and {config.data.cutmix} with "
            f"{config.method.name!r}"
        )
    _check_stored(config, method)
    _check_early_stopping(config, method)


def _check_stored(config: ConfigDict, method: "Method") -> None:
    """Stored logits and a method that follows them come together, without augmentation."""
    stored = config.data.teacher_logits
    if bool(stored) != method.is_stored:
        raise ConfigError(
            "config.data.teacher_logits must be set with config.method.arguments.teacher='stored', "
            f"and only then. Received: {stored!r} with {config.method.arguments.to_dict()}"
        )
    changing = [
        f"config.data.{name}={config.data[name]!r}"
        for name in ("augmentation", "mixup", "cutmix")
        if config.data[name]
    ]
    if config.overlay.share:
        changing.append(f"config.overlay.share={config.overlay.share}")
    if stored and changing:
        raise ConfigError(
            "config.data.teacher_logits must be '' with augmentation, because stored logits are of "
            f"images as they are; a teacher that is a network sees them. Received: {stored!r} with "
            f"{' and '.join(changing)}"
        )


def _check_early_stopping(config: ConfigDict, method: "Method") -> None:
    monitor = config.early_stopping.monitor
    if not monitor:
        return
    if not config.data.validation_fraction:
        raise ConfigError(
            "config.data.validation_fraction must be above 0 for config.early_stopping.monitor, "
            f"because nothing is chosen on the test split. Received: 0 with {monitor!r}"
        )
    students = [f"student_{number}" for number, _ in enumerate(config.ensemble.widths, start=1)]
    accuracies = [f"{name}_accuracy" for name in (*students, "teacher")]
    logs = [f"val_{name}" for name in ("loss", *method.term_names, *accuracies)]
    if config.only_student:
        logs.append("val_accuracy")
    if monitor not in logs:
        raise ConfigError(
            f"config.early_stopping.monitor must be '' or one of {', '.join(logs)}. "
            f"Received: {monitor!r}"
        )


def _count_students(config: ConfigDict) -> int:
    widths, fields = config.ensemble.widths, budget_fields(config)
    if not fields:
        return len(widths)
    budgets = [get(config, field) for field in fields]
    first = budgets[0]
    if any(len(other) != len(first) for other in budgets):
        raise ConfigError(
            "config.ensemble.latency_ms must have a number for each of config.ensemble.int8_bytes. "
            f"Received: {budgets[1]} and {first}"
        )
    if config.ensemble.latency_ms and config.strategy == "multi_worker":
        raise ConfigError(
            "config.ensemble.latency_ms must be () with config.strategy 'multi_worker', because "
            "hosts measure different times; oekd_tf.widths_for finds the widths on one. "
            f"Received: {config.ensemble.latency_ms}"
        )
    # Widths of a run that is under way are those that its budgets were given.
    if widths != FIELDS["ensemble.widths"].default and len(widths) != len(first) + 1:
        raise ConfigError(
            f"config.ensemble.widths must be left out with config.{fields[0]}, which finds "
            f"them. Received: {widths} and {first}"
        )
    return len(first) + 1


def check_field(path: str, field: Field, value: Any) -> None:
    """Raises a ConfigError if the value breaks the field's rule."""
    for valid, rule in (rules.kind_rule(field.default), (field.valid, field.rule)):
        try:
            kept = valid(value)
        except TypeError:
            # A part of a tuple is of a type that the rule cannot compare.
            kept = False
        if not kept:
            raise ConfigError(f"config.{path} must be {rule}. Received: {format_value(value)}")


def _leaves(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        path = f"{prefix}{name}"
        if isinstance(value, ConfigDict) and path not in FIELDS:
            yield from _leaves(value, f"{path}.")
        else:
            yield path, value


def nearest(path: str) -> str:
    """Hint for an error about an unknown field: its new path, or the most similar field."""
    if path in MOVED:
        return f"; it is {MOVED[path]} since version 0.2"
    found = difflib.get_close_matches(path, FIELDS, n=1)
    return f", such as {found[0]}" if found else ""
