from pathlib import Path

import pytest

from oekd_tf import config as c

# For every field a value of the right type that breaks its rule; None where any value is fine.
BAD = {
    "name": "a/b",
    "seed": -1,
    "epochs": 0,
    "batch_size": 0,
    "only_student": 6,
    "teacher_workdir": "runs/first",
    "precision": "float8",
    "strategy": "gpus",
    "logical_cpus": -1,
    "checkpoint_every": 0,
    "checkpoints_kept": 0,
    "data.source": "",
    "data.train_split": "",
    "data.test_split": "",
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
    "data.cache": "disk",
    "data.central_crop": 0.0,
    "backbone.name": "NoSuchNet",
    "ensemble.widths": (1.0, 1.0),
    "ensemble.teacher_weights": (1.0,),
    "ensemble.stem_gradient": "most",
    "ensemble.adaptation_initializer": "ones",
    "ensemble.pseudo_teacher_epochs": -1,
    "loss.temperature": 0.0,
    "loss.label_weight": -0.1,
    "loss.feature_weight": float("nan"),
    "loss.distillation_weight": -0.1,
    "loss.distillation_target": "teacher",
    "loss.feature_scale": "large",
    "loss.warmup_epochs": -1.0,
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
    "export.formats": ("int9",),
    "export.calibration_images": 0,
    "export.min_agreement_float": 1.5,
    "export.max_accuracy_drop": -0.5,
    "export.max_accuracy_drop_float": 2.0,
    "export.batch_size": -1,
    "export.calibration_batch_size": 0,
    "export.calibration_seed": -1,
    "export.processes": -2,
    "fine_tuning.epochs": 0,
    "fine_tuning.learning_rate": 0.0,
    "fine_tuning.sparsity": 1.0,
    "fine_tuning.clusters": 1,
}
ANY_VALUE = {
    "backbone.arguments",
    "data.data_dir",
    "export.output",
    *(path for path, field in c.FIELDS.items() if isinstance(field.default, bool)),
}


def put(config, path, value):
    *parents, name = path.split(".")
    for parent in parents:
        config = config[parent]
    config[name] = value


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
        ({"ensemble.teacher_weights": (1.0, 1.0)}, "ensemble.teacher_weights"),
    ],
)
def test_rules_between_fields(changes, field):
    config = c.default_config()
    for path, value in changes.items():
        put(config, path, value)
    with pytest.raises(c.ConfigError, match=rf"config\.{field} must be"):
        c.check(config)


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
        config.loss.tempreture = 2.0
    with pytest.raises(c.ConfigError, match=r"config\.loss\.tempreture is no field"):
        c.check(config)
    with pytest.raises(AttributeError, match="tempreture"):
        c.default_config().loss.tempreture = 2.0


def test_missing_field():
    config = c.default_config()
    with config.unlocked():
        del config.loss.temperature
    with pytest.raises(c.ConfigError, match=r"config\.loss\.temperature must be set"):
        c.check(config)


def test_wrong_type():
    with pytest.raises(TypeError, match="epochs"):
        c.default_config().epochs = "ten"


def test_json_round_trip():
    config = c.default_config()
    config.ensemble.widths = (1.0, 0.5)
    config.backbone.arguments.depth = 20
    again = c.from_json(c.to_json(config))
    assert again == config
    assert again.ensemble.widths == (1.0, 0.5)


def test_defaults_are_not_shared():
    c.default_config().backbone.arguments.depth = 110
    assert c.default_config().backbone.arguments.depth == 8


def test_paper_weights_are_the_default():
    loss = c.default_config().loss
    weights = (loss.label_weight, loss.feature_weight, loss.distillation_weight)
    assert (*weights, loss.temperature) == (0.7, 0.15, 0.15, 2.0)


def test_find_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Path(c.find_config("configs/demo.py")).is_file()
    assert c.find_config("configs/none.py") == "configs/none.py"
