"""Configs of drawn values: each is refused in one line that names the field, or trains a step."""

import contextlib
import gc
import json
import math
import re

import config_strategies
import hypothesis.strategies as st
import keras
import ml_collections
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, event, example, given, settings
from small_runs import put

from oekd_tf import config as config_module
from oekd_tf import training
from oekd_tf.core.errors import ConfigError
from oekd_tf.training import callbacks

# The same examples everywhere, and none left on disk.
REPEATABLE = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

# Fields whose rules are also about others: those may be named in their place.
RELATED = {
    "only_student": ["ensemble.widths", "ensemble.int8_bytes", "ensemble.latency_ms"],
    "ensemble.int8_bytes": ["ensemble.widths", "only_student", "ensemble.latency_ms"],
    "ensemble.latency_ms": ["ensemble.widths", "only_student", "ensemble.int8_bytes", "strategy"],
    "ensemble.widths": ["ensemble.int8_bytes", "ensemble.latency_ms"],
    "method.arguments": ["method.name", "ensemble.widths", "epochs"],
    "method.name": ["method.arguments", "ensemble.widths"],
    "schedule.step_epochs": ["schedule.name"],
    "schedule.warmup_epochs": ["schedule.name", "epochs"],
    "logical_cpus": ["strategy"],
    "optimizer.weight_decay": ["optimizer.name"],
    "export.calibration_batch_size": ["export.batch_size"],
    "backbone.arguments": ["backbone.name"],
}


def assert_one_line(error, start):
    """The rule from its start, then what was received; returns how the start was matched."""
    message = str(error)
    assert message.isprintable()
    assert len(message) < 2000
    assert "Received: " in message, message
    match = re.match(start, message)
    assert match, message
    return match


def assert_refusal_names(error, changed):
    """A field that was changed, or one whose rule is about it."""
    message = str(error)
    path = assert_one_line(error, r"config\.([a-z_0-9.]+)")[1]
    if path.startswith("method.arguments."):
        path = "method.arguments"
    sections = {field.partition(".")[0] for field in changed}
    assert path in changed or path in sections or set(RELATED.get(path, ())) & set(changed), message


@settings(REPEATABLE, max_examples=400)
@given(changed=config_strategies.changes(config_strategies.of_its_type))
@example(changed={"backbone.name": ".:x"})
@example(changed={"seed": 2**32})
@example(changed={"epochs": 10**5000})
@example(changed={"ensemble.widths": (True, 0.5)})
@example(changed={"method.arguments": {"teacher_weights": (math.inf, 1.0, 1.0, 1.0, 1.0)}})
@example(changed={"backbone.arguments": {"depth": 8, "synchronized_batch_norm": True}})
@example(changed={"backbone.arguments": {"depth": math.nan}})
@example(changed={"data.image_size": (True, True)})
def test_a_checked_config_keeps_its_rules_or_names_the_field(changed):
    config = config_module.default_config()
    for path, value in changed.items():
        # What is of another type, ml_collections refuses where it is set.
        with contextlib.suppress(TypeError, ValueError, OverflowError), config.unlocked():
            put(config, path, value)
    try:
        config_module.check(config)
    except ConfigError as error:
        assert_refusal_names(error, changed)
    else:
        again = config_module.from_json(config_module.to_json(config))
        assert config_module.to_json(again) == config_module.to_json(config)


@settings(REPEATABLE, max_examples=400)
@given(changed=config_strategies.changes(config_strategies.of_any_type))
@example(changed={"seed": "1"})
@example(changed={"seed": 1.0})
@example(changed={"optimizer.learning_rate": True})
@example(changed={"ensemble.widths": "abc"})
@example(changed={"ensemble.widths": 5})
@example(changed={"ensemble.widths": {"a": 1}})
@example(changed={"backbone.arguments": {"a.b": 1}})
@example(changed={"backbone.arguments": {"__class__": 1}})
@example(changed={"backbone.arguments": [1]})
@example(changed={"jit_compile": None})
def test_json_of_any_types_is_a_config_or_names_the_field(changed):
    values = config_module.default_config().to_dict()
    for path, value in changed.items():
        put(values, path, value)
    try:
        config = config_module.from_json(json.dumps(values))
    except ConfigError as error:
        assert_refusal_names(error, changed)
    else:
        config_module.check(config)


@settings(REPEATABLE, max_examples=100)
@given(section=st.sampled_from(["data", "method", "export"]), value=config_strategies.ANYTHING)
def test_json_of_a_section_that_is_none(section, value):
    values = {**config_module.default_config().to_dict(), section: value}
    try:
        config_module.from_json(json.dumps(values))
    except ConfigError as error:
        assert_one_line(error, rf"config\.{section}")
    else:
        assert isinstance(value, dict)


@settings(REPEATABLE, max_examples=100)
@given(text=st.one_of(st.text(), config_strategies.ANYTHING.map(json.dumps)))
@example(text="")
@example(text='{"seed": 1')
@example(text="[" * 100_000)
@example(text='{"seed": ' + "9" * 5000 + "}")
def test_text_that_is_no_config(text):
    try:
        config = config_module.from_json(text)
    except ConfigError as error:
        assert_one_line(error, r"config\.|A config must be")
    else:
        assert isinstance(config, ml_collections.ConfigDict)


@settings(REPEATABLE, max_examples=100)
@given(changed=config_strategies.changes(config_strategies.of_any_type, most=1))
def test_fields_set_on_a_finished_runs_config(changed):
    config = config_module.default_config()
    try:
        config_module.set_fields(config, changed, within=("export", "fine_tuning", "data", "loss"))
    except ConfigError as error:
        assert_one_line(error, r"config\.|A field to set must be")


def take_a_step(changed, backbone):
    """Trains what a config says for a step; it may be refused before."""
    config = config_module.default_config()
    config.data.max_examples = 64
    config.data.download = False
    config.data.validation_fraction = 0.02
    config.batch_size = 32
    config.ensemble.widths = (1.0, 0.5)
    config.backbone.name, arguments = backbone
    with config.unlocked():
        config.backbone.arguments = arguments
    for path, value in changed.items():
        put(config, path, value)
    try:
        config_module.check(config)
        data = training.load_data(config)
        model = training.build_model(config, data, tf.distribute.get_strategy())
    except ConfigError as error:
        event("refused: " + str(error).partition(" ")[0])
        assert_one_line(error, r"config\.")
        return
    event("trained")
    batches = data.train(
        config.batch_size,
        seed=config.seed,
        augmentation=tuple(config.data.augmentation),
        mixup=config.data.mixup,
        cutmix=config.data.cutmix,
        label_smoothing=config.data.label_smoothing,
    )
    followers = [callbacks.StopOnNan()]
    if not config.only_student:
        followers.append(callbacks.PseudoTeacherFirst(config.ensemble.pseudo_teacher_epochs))
    history = model.fit(
        batches, steps_per_epoch=1, shuffle=False, verbose=0, callbacks=followers
    ).history
    assert all(math.isfinite(values[0]) for values in history.values()), history
    # Graphs and layers of dozens of networks would stay in the process.
    keras.backend.clear_session()
    gc.collect()


def some_changes():
    """Up to eight of the fields that decide about a step, and a network."""
    fields = config_strategies.TRAINABLE
    paths = st.lists(st.sampled_from(sorted(fields)), max_size=8, unique=True)
    return paths.flatmap(lambda chosen: st.fixed_dictionaries({p: fields[p] for p in chosen}))


@pytest.mark.integration
@settings(REPEATABLE, max_examples=6)
@given(changed=some_changes(), backbone=config_strategies.BACKBONES)
def test_a_config_is_refused_or_trains_a_step(changed, backbone):
    take_a_step(changed, backbone)


@pytest.mark.slow
@settings(REPEATABLE, max_examples=120)
@given(changed=some_changes(), backbone=config_strategies.BACKBONES)
def test_many_configs_are_refused_or_train_a_step(changed, backbone):
    take_a_step(changed, backbone)
