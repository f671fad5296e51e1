"""One training step and one export of a config, on tiny data of the right shape."""

import gc
import importlib.util
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from oekd_tf import config as config_module
from oekd_tf import training
from oekd_tf.data import Data
from oekd_tf.data.splits import ArraySplit
from oekd_tf.export import export_students

CONFIGS = Path(__file__).parent.parent / "configs"

SHAPES = {
    "cifar10": (32, 32, 3, 10),
    "cifar100": (32, 32, 3, 100),
    "cifar10_jpeg": (32, 32, 3, 10),
    "fashion_mnist_mini": (28, 28, 1, 10),
    "image_folder": (64, 64, 3, 10),
    "imagenet2012": (224, 224, 3, 1000),
    "svhn_cropped": (32, 32, 3, 10),
}

# What takes the place of a depth that a test has no time for.
_REDUCED = {
    "CifarResNet": {"depth": 8},
    "DenseNet": {"depth": 16},
    "EfficientNet": {"variant": "b0"},
}
_REDUCED_DEPTHS = {101: 50}


def names(prefix=""):
    return sorted(path.stem for path in CONFIGS.glob(f"{prefix}*.py"))


def load(name):
    """(config, docstring)."""
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(), module.__doc__


def reduced(name):
    """A config at reduced depth."""
    config, _ = load(name)
    arguments = config.backbone.arguments
    for argument, value in _REDUCED.get(config.backbone.name, {}).items():
        arguments[argument] = value
    if "depth" in arguments:
        arguments.depth = _REDUCED_DEPTHS.get(arguments.depth, arguments.depth)
    return config


def groups(prefix, without=()):
    """Names of configs, together where nothing but the reduced depth told them apart."""
    found = {}
    for name in names(prefix):
        if not name.startswith(without):
            config = reduced(name)
            config.name = "reduced"
            found.setdefault(config_module.to_json(config), []).append(name)
    return list(found.values())


def tiny_data(config):
    """Four examples of the data set's image shape and number of classes."""
    *shape, classes = SHAPES[config.data.source]
    if config.data.image_size:
        shape[:2] = config.data.image_size
    images = np.random.default_rng(0).integers(0, 256, (4, *shape), np.uint8)
    split = ArraySplit(images, np.array([0, 1, classes - 2, classes - 1], np.int32))
    return Data("tiny", tuple(shape), [str(c) for c in range(classes)], split, None, None, 0)


def step_and_export(config, folder, formats):
    """Trains the first and the last student for two steps and exports the last.

    Two, because a warm-up's first step has a learning rate of 0.
    """
    config_module.check(config)
    config.batch_size = 2
    config.ensemble.widths = (1.0, config.ensemble.widths[-1])
    data = tiny_data(config)
    ensemble = training.build_model(config, data, tf.distribute.get_strategy())
    student = ensemble.students[-1]
    before = student.get_weights()
    batches = data.train(2, seed=0, augmentation=tuple(config.data.augmentation))
    logs = ensemble.fit(batches, steps_per_epoch=2, verbose=0).history
    assert all(np.isfinite(value[0]) for value in logs.values()), logs
    moved = [np.any(a != b) for a, b in zip(student.get_weights(), before, strict=True)]
    assert np.mean(moved) > 0.9
    images = data.train_images(4)
    manifest = export_students(
        [student],
        folder / "export",
        formats=formats,
        calibration_images=images,
        test_images=images,
        test_labels=np.zeros(4, int),
        # Two steps make no classifier: what its top class is, rounding may decide.
        max_accuracy_drop=dict.fromkeys(formats, 1.0),
        min_agreement=dict.fromkeys(formats, 0.0),
        progress=lambda line: None,
    )
    facts = manifest["students"][0]["formats"]
    scale = max(1.0, np.abs(student.predict(images, verbose=0)).max())
    for name in set(formats) & {"saved_model", "float32"}:
        assert facts[name]["largest_logit_difference"] < 1e-3 * scale
    # Graphs and layers of dozens of networks would stay in the process.
    keras.backend.clear_session()
    gc.collect()
