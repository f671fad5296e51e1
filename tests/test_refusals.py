"""What data and networks refuse names its field, before anything is written."""

import inspect
import json

import keras
import pytest
from small_runs import put, small_config

from oekd_tf import backbones, training
from oekd_tf import config as config_module
from oekd_tf.core.errors import ConfigError
from oekd_tf.models.optimizers import schedules
from oekd_tf.training.workdir import refuse_workdir_of_another

FAMILIES = [
    family
    for _, family in inspect.getmembers(backbones, inspect.isclass)
    if issubclass(family, backbones.Backbone)
    and not inspect.isabstract(family)
    and family not in (backbones.FunctionBackbone, backbones.PrunedNetwork)
]


def refusal(workdir, changes):
    """The one line that a config is refused with."""
    config = small_config(data__download=False)
    for path, value in changes.items():
        with config.unlocked():
            put(config, path, value)
    with pytest.raises(ConfigError) as refused:
        training.train(config, workdir, lambda line: None)
    assert not workdir.exists()
    message = str(refused.value)
    assert message.isprintable()
    return message


@pytest.mark.parametrize(
    ("changes", "rule", "received"),
    [
        ({"ensemble.widths": (1.0, 0.01)}, "config.ensemble.widths must leave", "width=0.01"),
        ({"ensemble.widths": (1.0, 1e-6)}, "config.ensemble.widths must leave", "width=1e-06"),
        (
            {"backbone.name": "MobileNetV2", "backbone.arguments": {},
             "ensemble.widths": (1.0, 0.01)},
            "config.ensemble.widths and a network's own multiplier must leave", "0.16 of a",
        ),
        ({"ensemble.widths": (1.0, 1.0)}, "config.ensemble.widths must be 1 first", "(1.0, 1.0)"),
        ({"batch_size": 129}, "config.batch_size must be from 1", "129"),
        ({"data.max_examples": 5}, "config.data.source, config.data.train_split and", "none of"),
        ({"data.validation_fraction": 0.99999}, "config.data.validation_fraction must", "0.99999"),
        ({"data.source": "cifar10", "data.data_dir": "/none"}, "config.data.source must be", "cif"),
        ({"data.source": "no_such_set"}, "config.data.source must be known", "'no_such_set'"),
        ({"data.source": "image_folder"}, "config.data.data_dir must be a folder", "None"),
        ({"data.train_split": "valid"}, "config.data.train_split must be one of train", "'valid'"),
        ({"data.train_split": "train[:0]"}, "config.data.train_split must hold", "'train[:0]'"),
        ({"data.test_split": "valid"}, "config.data.test_split must be one of train", "'valid'"),
        ({"data.test_split": "test[5:3]"}, "config.data.test_split must hold", "'test[5:3]'"),
        ({"data.label_key": "name"}, "config.data.label_key must name one", "'name'"),
        (
            {"backbone.name": "DenseNet", "backbone.arguments": {"depth": 10},
             "data.image_size": (2, 2)},
            "config.backbone.name, config.backbone.arguments and", "inputs.shape=",
        ),
        (
            {"backbone.name": "networks:PlainCnn", "backbone.arguments": {"channels": [0]}},
            "config.backbone.name, config.backbone.arguments and", "0",
        ),
        (
            {"schedule.name": "cosine", "schedule.warmup_epochs": 2.999},
            "config.schedule.warmup_epochs and", "12 steps",
        ),
        (
            {"strategy": "mirrored", "logical_cpus": 5},
            "config.strategy and config.logical_cpus must suit this machine", "in use",
        ),
    ],
)  # fmt: skip
def test_one_line_and_nothing_written(tmp_path, changes, rule, received):
    message = refusal(tmp_path / "run", changes)
    assert message.startswith(rule)
    assert received in message.partition("Received: ")[2]


def test_a_missing_data_set_comes_with_the_command_that_fetches_it(tmp_path):
    changes = {"data.source": "cifar10", "data.data_dir": str(tmp_path)}
    message = refusal(tmp_path / "run", changes)
    assert f"run `tfds build cifar10 --data_dir={tmp_path}`" in message


def test_a_batch_that_replicas_cannot_share(tmp_path):
    changes = {"strategy": "mirrored", "logical_cpus": 2, "batch_size": 33}
    message = refusal(tmp_path / "run", changes)
    assert message == "config.batch_size must divide by the number of replicas, 2. Received: 33"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_refuses_a_width_without_channels(family):
    stem = family().stem(keras.Input((64, 64, 3)))
    with pytest.raises(ValueError, match=r"^widths.* must leave every layer .*Received: "):
        family().branch(stem, 1e-6, "student")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("CifarResNet", {"depth": 8.0}),
        ("CifarResNet", {"batch_norm_momentum": 1.0}),
        ("CifarResNet", {"batch_norm_epsilon": 0}),
        ("CifarResNet", {"batch_norm_epsilon": "small"}),
        ("DenseNet", {"growth_rate": 1.5}),
        ("ResNet", {"depth": [50]}),
        ("ResNet", {"groups": 2.5}),
        ("WideResNet", {"width_factor": 1.5}),
        ("MobileNetV2", {"width_multiplier": 10**400}),
        ("MobileNetV3", {"width_multiplier": -1}),
        ("EfficientNet", {"variant": {}}),
    ],
)
def test_arguments_of_a_network(name, arguments):
    config = config_module.default_config()
    config.backbone.name = name
    with config.unlocked():
        config.backbone.arguments = arguments
    with pytest.raises(ConfigError, match=r"^config\.backbone\.arguments must .*Received: "):
        config_module.check(config)


def test_steps_that_a_schedule_cannot_count_to():
    with pytest.raises(ValueError, match=r"below 2,147,483,648\. Received: \[2147483648\]"):
        schedules.step_decay(0.1, [2**31])


def test_a_run_with_a_tuple_in_its_arguments_can_go_on(tmp_path):
    config = small_config(backbone__name="networks:PlainCnn", epochs=1)
    with config.unlocked():
        config.backbone.arguments = {"channels": (4, 8)}
    (tmp_path / "config.json").write_text(config_module.to_json(config))
    (tmp_path / "summary.json").write_text("{}")
    refuse_workdir_of_another(config, tmp_path)
    with config.unlocked():
        config.backbone.arguments = {"channels": (4, 9)}
    with pytest.raises(
        ConfigError,
        match=r"was made with config\.backbone\.arguments\.channels=.*Use the same value",
    ):
        refuse_workdir_of_another(config, tmp_path)


def test_an_image_folder_whose_test_split_lacks_a_class(tmp_path):
    for split, names in (("train", "ab"), ("test", "a")):
        for name in names:
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for index in range(20):
                pixels = keras.ops.full((8, 8, 3), index, "uint8")
                keras.utils.save_img(folder / f"{index}.png", pixels)
    config = small_config(
        data__source="image_folder",
        data__data_dir=str(tmp_path / "images"),
        data__image_size=(8, 8),
        data__max_examples=0,
        batch_size=8,
    )
    data = training.load_data(config)
    assert data.num_test == len(data.test_arrays()[0]) == 20
    config.data.train_split = "train[:50%]"
    with pytest.raises(ConfigError, match=r"config\.data\.train_split must be one of train, test"):
        training.load_data(config)


def test_json_of_an_unreadable_run(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"seed": "many"}))
    with pytest.raises(ConfigError, match=r"config\.seed must be a whole number.*'many'"):
        training.restore_run(tmp_path)
