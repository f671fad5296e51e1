import json
from pathlib import Path

import pytest
from small_runs import put

from oekd_tf import config as c
from oekd_tf import methods, recipes
from oekd_tf.config.building import method_arguments

# For every field a value of the right type that breaks its rule; None where any value is fine.
BAD = {
    "name": "a/b",
    "seed": -1,
    "epochs": 0,
    "batch_size": 0,
    "only_student": 6,
    "baselines": (2, 2),
    "note": None,
    "teacher_workdir": "runs/first",
    "precision": "float8",
    "strategy": "gpus",
    "logical_cpus": -1,
    "checkpoint_every": 0,
    "checkpoints_kept": 0,
    "data.source": "",
    "data.train_split": "",
    "data.validation_split": "",
    "data.test_split": "",
    "data.test_fraction": 1.0,
    "data.group_key": "two\nlines",
    "data.image_key": "",
    "data.label_key": "",
    "data.image_size": (32,),
    "data.validation_fraction": 1.0,
    "data.split_seed": -1,
    "data.max_examples": -1,
    "data.augmentation": ("flip", "random_resized_crop"),
    "data.mixup": -0.1,
    "data.cutmix": float("inf"),
    "data.label_smoothing": 1.0,
    "data.label_noise": 1.0,
    "data.label_noise_kind": "random",
    "data.examples_per_class": -1,
    "data.imbalance": 0.5,
    "data.class_weight": "inverse",
    "data.sampling": "uniform",
    "data.cache": "disk",
    "data.central_crop": 0.0,
    "backbone.name": "NoSuchNet",
    "ensemble.widths": (1.0, 1.0),
    "ensemble.int8_bytes": (8_000, 16_000),
    "ensemble.latency_ms": (0.1, 0.2),
    "ensemble.pseudo_teacher_epochs": -1,
    "method.name": "dlm",
    "overlay.share": 1.5,
    "overlay.source": "teacher",
    "overlay.refresh_epochs": 0,
    "overlay.steps": 0,
    "overlay.paired": None,
    "label_loss.logit_adjustment": -1.0,
    "initial_weights": "two\nlines",
    "data.teacher_logits": "two\nlines",
    "ensemble.slice": "largest",
    "ensemble.frozen_stem_epochs": -1,
    "optimizer.pretrained_factor": 0.0,
    "optimizer.name": "sgdm",
    "optimizer.learning_rate": 0.0,
    "optimizer.l2": -1.0,
    "optimizer.weight_decay": -1.0,
    "optimizer.momentum": 1.0,
    "optimizer.clip_norm": -1.0,
    "schedule.name": "linear",
    "schedule.step_epochs": (3, 2),
    "schedule.step_factor": 1.5,
    "schedule.warmup_epochs": -1.0,
    "schedule.final_fraction": 2.0,
    "early_stopping.monitor": "teacher_accuracy",
    "early_stopping.patience": 0,
    "early_stopping.min_delta": -0.1,
    "export.formats": ("int9",),
    "export.calibration_images": 0,
    "export.min_agreement_float": 1.5,
    "export.max_accuracy_drop": -0.5,
    "export.max_class_drop": 1.5,
    "export.max_accuracy_drop_float": 2.0,
    "export.batch_size": -1,
    "export.calibration_batch_size": 0,
    "export.calibration_seed": -1,
    "export.micro_images": -1,
    "export.processes": -2,
    "fine_tuning.epochs": 0,
    "fine_tuning.learning_rate": 0.0,
    "fine_tuning.sparsity": 1.0,
    "fine_tuning.clusters": 1,
}
ANY_VALUE = {
    "backbone.arguments",
    "method.arguments",
    "data.data_dir",
    "export.output",
    *(path for path, field in c.FIELDS.items() if isinstance(field.default, bool)),
}


def test_default_is_valid():
    c.check(c.default_config())


def test_every_field_has_a_bad_value_here():
    assert set(BAD) | ANY_VALUE == set(c.FIELDS)


@pytest.mark.parametrize("path", BAD)
def test_an_error_names_the_field_and_the_value(path):
    config = c.default_config()
    put(config, path, BAD[path])
    with pytest.raises(c.ConfigError, match=rf"^config\.{path} must be .*Received: ") as error:
        c.check(config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"schedule.name": "step"}, "schedule.step_epochs"),
        ({"schedule.name": "cosine", "schedule.warmup_epochs": 1.0}, "schedule.warmup_epochs"),
        ({"logical_cpus": 2}, "logical_cpus"),
        ({"optimizer.weight_decay": 0.1}, "optimizer.weight_decay"),
        (
            {"method.arguments": {"teacher_weights": (1.0, 1.0)}},
            "method.arguments.teacher_weights",
        ),
        ({"method.arguments": {"warmup_epochs": 1.5}}, "method.arguments.warmup_epochs"),
        ({"method.name": "dml", "ensemble.widths": (1.0,)}, "ensemble.widths"),
    ],
)
def test_rules_between_fields(changes, field):
    config = c.default_config()
    for path, value in changes.items():
        put(config, path, value)
    with pytest.raises(c.ConfigError, match=rf"config\.{field} must be"):
        c.check(config)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("teacher_weights", (0.0,)),
        ("stem_gradient", "most"),
        ("adaptation_initializer", "ones_"),
        ("temperature", 0.0),
        ("label_weight", -0.1),
        ("feature_weight", float("inf")),
        ("distillation_weight", -0.1),
        ("feature_scale", "large"),
        ("warmup_epochs", -1.0),
        ("warmup_epochs", "many"),
        ("teacher_weights", "best"),
        ("divergence", "js"),
        ("features", "maps"),
        ("feature_blocks", (0,)),
        ("feature_blocks", (1, 1)),
        ("distillation_schedule", "cosine"),
        ("feature_schedule", 1.0),
        ("schedule_share", 0.0),
        ("ema_decay", 1.0),
        ("ema_decay", True),
    ],
)
def test_method_arguments(argument, value):
    config = c.default_config()
    config.method.arguments[argument] = value
    field = rf"^config\.method\.arguments(\.{argument})? must be .*Received: "
    with pytest.raises(c.ConfigError, match=field) as error:
        c.check(config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("method", "argument", "value"),
    [
        ("kdcl", "target", "best"),
        ("kdcl", "views", 2),
        ("pcl", "views", "all"),
        ("one", "gate_input", "images"),
        ("one", "teacher_label_weight", -1.0),
        ("pcl", "teachers", "none"),
        ("pcl", "ema_decay", None),
        ("dkel", "initial_batches", 0.5),
        ("dkel", "decaying_ensemble", -1.0),
        ("dkel", "initial_rate", -0.5),
        ("ffl", "teacher_label_weight", "high"),
    ],
)
def test_arguments_of_other_methods(method, argument, value):
    config = c.default_config()
    config.method.name = method
    config.method.arguments[argument] = value
    with pytest.raises(c.ConfigError, match=rf"{argument} must be .*Received: ") as error:
        c.check(config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"feature_blocks": (1,), "features": None},
        {"feature_blocks": (1,), "features": "projected"},
        {"feature_scale": "relative", "features": "attention"},
    ],
)  # fmt: skip
def test_arguments_that_would_do_nothing(arguments):
    config = c.default_config()
    with config.method.arguments.unlocked():
        config.method.arguments.update(arguments)
    with pytest.raises(c.ConfigError, match=rf"{next(iter(arguments))} must be .*Received: "):
        c.check(config)


@pytest.mark.parametrize(
    ("method", "widths", "rule"),
    [
        ("cl_ilr", (1.0,), "of two students"), ("kdcl", (1.0,), "of two students"),
        ("ffl", (1.0,), "of two students"), ("pcl", (1.0,), "of two students"),
        ("dkel", (1.0,), "of two students"), ("okddip", (1.0, 0.5), "of three students"),
    ],
)  # fmt: skip
def test_methods_that_need_more_students(method, widths, rule):
    config = c.default_config()
    config.method.name, config.ensemble.widths = method, widths
    with pytest.raises(c.ConfigError, match=rf"widths must be {rule} at least, .*Received: "):
        c.check(config)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("kdcl", {"target": "general"}), ("oekd", {"teacher_weights": "validation"})],
)
def test_weights_of_validation_images_need_some(method, arguments):
    config = c.default_config()
    config.method.name = method
    with config.method.arguments.unlocked():
        config.method.arguments.update(arguments)
    c.check(config)
    config.data.validation_fraction = 0.0
    with pytest.raises(c.ConfigError, match=r"config\.data\.validation_fraction must be above 0"):
        c.check(config)


@pytest.mark.parametrize("field", ["mixup", "cutmix"])
def test_views_are_not_mixed(field):
    config = c.default_config()
    config.method.name = "pcl"
    config.data[field] = 0.5
    with pytest.raises(
        c.ConfigError, match=r"config\.data\.mixup .*arguments\.views=1.*Received: "
    ):
        c.check(config)
    with config.method.arguments.unlocked():
        config.method.arguments.views = 1
    c.check(config)


def test_an_argument_that_a_method_does_not_have():
    config = c.default_config()
    config.method.arguments.tempreture = 3.0
    with pytest.raises(
        c.ConfigError, match=r"must suit 'oekd', .*Did you mean temperature\? Received: 'tempr"
    ):
        c.check(config)


@pytest.mark.parametrize("name", ["dlm", "DML", "oked"])
def test_a_mistyped_method(name):
    config = c.default_config()
    config.method.name = name
    message = r"^config\.method\.name must be one of cl_ilr, .*Did you mean '(dml|oekd)'\? Received"
    with pytest.raises(c.ConfigError, match=message):
        c.check(config)


def test_a_config_of_version_0_1():
    """A run's config.json of the version before is the same config in the fields of today."""
    values = json.loads(c.to_json(c.default_config()))
    del values["method"]
    values["loss"] = {
        "temperature": 3.0, "label_weight": 0.7, "feature_weight": 0.0, "feature_scale": "absolute",
        "distillation_weight": 0.6, "distillation_target": "ensemble", "warmup_epochs": 0.5,
    }  # fmt: skip
    values["ensemble"] |= {
        "teacher_weights": [], "stem_gradient": "pseudo_teacher", "train_adaptation": True,
        "adaptation_initializer": "glorot_uniform",
    }  # fmt: skip
    config = c.from_json(json.dumps(values))
    assert config.method.name == "oekd"
    method = c.make_method(config)
    assert (method.temperature, method.distillation_weight, method.feature_weight) == (3, 0.6, 0)
    assert (method.stem_gradient, method.warmup_epochs) == ("pseudo_teacher", 0.5)
    # What was written out is the same as what is left to a default.
    asked = c.default_config()
    asked.method.arguments = {
        **methods.OEKD.paper().get_config(), "temperature": 3.0, "feature_weight": 0.0,
        "distillation_weight": 0.6, "warmup_epochs": 0.5, "stem_gradient": "pseudo_teacher",
    }  # fmt: skip
    assert c.first_difference(config, asked) is None
    asked.method.arguments.temperature = 2.0
    assert c.first_difference(config, asked) == ("method.arguments.temperature", 3.0, 2.0)
    values["loss"]["distillation_target"] = "peers"
    with pytest.raises(c.ConfigError, match=r"written by oekd_tf 0\.1.*Use oekd_tf 0\.1"):
        c.from_json(json.dumps(values))


@pytest.mark.parametrize("arguments", [{"depth": 9}, {"width": 2}])
def test_backbone_arguments(arguments):
    config = c.default_config()
    with config.unlocked():
        config.backbone.arguments = arguments
    with pytest.raises(c.ConfigError, match=r"config\.backbone\.arguments must suit CifarResNet"):
        c.check(config)


def test_backbone_of_ones_own():
    config = c.default_config()
    config.backbone.name = "networks:PlainCnn"
    with config.unlocked():
        config.backbone.arguments = {"norm": False}
    assert c.make_backbone(config).norm is False


def test_a_function_of_ones_own_that_gives_a_backbone():
    config = c.default_config()
    config.backbone.name = "networks:plain_cnn_family"
    with config.unlocked():
        config.backbone.arguments = {"channels": (4, 8)}
    assert c.make_backbone(config, synchronized_batch_norm=True).channels == (4, 8)
    config.backbone.name = "networks:family_id"
    with config.unlocked():
        config.backbone.arguments = {"value": 1}
    with pytest.raises(c.ConfigError, match=r"stem and branch.*networks:family_id', which gives"):
        c.make_backbone(config)


def test_unknown_field():
    config = c.default_config()
    with config.unlocked():
        config.schedule.nmae = 2.0
    with pytest.raises(c.ConfigError, match=r"config\.schedule\.nmae is no field"):
        c.check(config)
    with pytest.raises(AttributeError, match="nmae"):
        c.default_config().schedule.nmae = 2.0


def test_missing_field():
    config = c.default_config()
    with config.unlocked():
        del config.schedule.name
    with pytest.raises(c.ConfigError, match=r"config\.schedule\.name must be set"):
        c.check(config)


def test_wrong_type():
    with pytest.raises(TypeError, match="epochs"):
        c.default_config().epochs = "ten"


def test_json_round_trip():
    config = c.default_config()
    config.ensemble.widths = (1.0, 0.5)
    config.backbone.arguments.depth = 20
    config.method.arguments.temperature = 3.0
    again = c.from_json(c.to_json(config))
    assert again.method.arguments.to_dict() == method_arguments(config)
    again.method.arguments = config.method.arguments
    assert again == config
    assert again.ensemble.widths == (1.0, 0.5)


def test_json_has_the_arguments_that_were_left_out():
    """What was trained is what is served, also by a version with other defaults."""
    written = json.loads(c.to_json(c.default_config()))
    assert {"name": "oekd", **written["method"]["arguments"]} == methods.OEKD().get_config()
    for name in set(methods.names()) - {"offline"}:  # which needs a teacher
        config = c.default_config()
        config.method.name = name
        again = c.from_json(c.to_json(config), imports=False)
        assert method_arguments(again) == method_arguments(config), name


@pytest.mark.parametrize("arguments", [{}, {"distillation_weight": 0.6}])
def test_older_files_have_the_defaults_of_their_time(arguments):
    values = json.loads(c.to_json(c.default_config()))
    values["method"]["arguments"] = arguments
    method = c.make_method(c.from_json(json.dumps(values)))
    assert method.get_config() == methods.OEKD.paper(**arguments).get_config()


def test_defaults_are_not_shared():
    c.default_config().backbone.arguments.depth = 110
    assert c.default_config().backbone.arguments.depth == 8


def test_the_default_method_and_the_papers():
    config = c.default_config()
    assert config.method.name == "oekd"
    loss = c.make_method(config)
    assert (loss.label_weight, loss.distillation_weight, loss.temperature) == (1.0, 2.0, 2.0)
    assert (loss.features, loss.teacher_weights) == (None, "cross_entropy")
    recipes.papers_loss(config)
    loss = c.make_method(config)
    weights = (loss.label_weight, loss.feature_weight, loss.distillation_weight)
    assert (*weights, loss.temperature) == (0.7, 0.15, 0.15, 2.0)
    assert (loss.features, loss.teacher_weights) == ("mse", None)


def test_find_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Path(c.find_config("configs/demo.py")).is_file()
    assert c.find_config("configs/none.py") == "configs/none.py"
