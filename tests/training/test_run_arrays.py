"""Training from arrays, where there is only JAX: TensorFlow cannot be imported."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import networks  # noqa: F401 (registers the network that is loaded)
import numpy as np
import pytest

from oekd_tf import config as config_module
from oekd_tf.core.choices import ARRAY_AUGMENTATIONS
from oekd_tf.core.errors import ConfigError
from oekd_tf.data.npz import ArrayData, load_arrays, pad_crop
from oekd_tf.training import run_arrays as array_training

TESTS = Path(__file__).parents[1]

# As on a machine where TensorFlow is not installed.
SCRIPT = """
import runpy, sys


class NoTensorFlow:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tensorflow_datasets", "tf_keras"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, NoTensorFlow)
sys.argv = ["train_arrays", *sys.argv[1:]]
runpy.run_module("oekd_tf.train_arrays", run_name="__main__")
"""

CONFIG = """
from oekd_tf.config import default_config


def get_config():
    config = default_config()
    config.name = "arrays"
    config.epochs = 2
    config.batch_size = 16
    config.data.source = "four"
    config.backbone.name = "networks:PlainCnn"
    with config.backbone.unlocked():
        config.backbone.arguments = {}
    config.ensemble.widths = (1.0, 0.5)
    config.optimizer.learning_rate = 0.01
    config.schedule.name = "cosine"
    return config
"""


def four(count=96):
    """Images of four classes that tell themselves by how bright they are."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, count)
    images = rng.integers(0, 60, (count, 12, 12, 3)) + 60 * labels[:, None, None, None]
    return images.astype(np.uint8), labels


@pytest.fixture
def arrays(tmp_path):
    images, labels = four()
    path = tmp_path / "four.npz"
    np.savez(path, x_train=images, y_train=labels[:, None], x_test=images[:32], y_test=labels[:32])
    return path


def run(tmp_path, arrays, workdir, *arguments, **variables):
    (tmp_path / "arrays.py").write_text(CONFIG)
    environment = {
        **os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", **variables,
    }  # fmt: skip
    command = [sys.executable, "-c", SCRIPT, f"--config={tmp_path / 'arrays.py'}"]
    return subprocess.run(
        [*command, f"--arrays={arrays}", f"--workdir={workdir}", *arguments], env=environment,
        capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path,
    )  # fmt: skip


@pytest.mark.integration
def test_trains_where_there_is_only_jax(tmp_path, arrays):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed")
    workdir = tmp_path / "run"
    done = run(tmp_path, arrays, workdir)
    assert done.returncode == 0, done.stderr
    alone = run(tmp_path, arrays, workdir, "--config.only_student=2")
    assert alone.returncode == 0, alone.stderr
    assert "gain %" in alone.stdout
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["versions"]["backend"] == "jax"
    assert summary["test_logs"]["loss"] > 0
    other = run(tmp_path, arrays, workdir, "--config.seed=1")
    assert other.returncode == 1
    assert other.stderr.strip().endswith("Use the same value, or another --workdir.")

    # Here, with TensorFlow, it is the same network.
    ensemble = keras.models.load_model(workdir / "ensemble.keras")
    logs = ensemble.evaluate(*(a[:32] for a in four()), verbose=0, return_dict=True)
    for name, value in logs.items():
        assert value == pytest.approx(summary["test_logs"][name], rel=1e-3, abs=1e-3), name


def test_batches_are_a_function_of_seed_and_epoch():
    images, labels = four()
    data = ArrayData("four", images, labels, images, labels, validation_fraction=0.25)
    assert data.num_train == 72
    assert data.steps_per_epoch(16) == 4
    there = data.train(16, seed=3)
    first, second = ([next(there) for _ in range(4)] for _ in range(2))
    again = data.train(16, seed=3, first_epoch=1)
    for (a, b), (c, d) in zip(second, (next(again) for _ in range(4)), strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)
    assert any((a != c).any() for (_, a), (_, c) in zip(first, second, strict=True))
    plain, _ = next(data.train(16, seed=3, augmentation=()))
    assert all(any((image == own).all() for own in images) for image in plain)
    ordered = data.train_arrays()
    np.testing.assert_array_equal(np.bincount(ordered[1]), data.class_counts)
    for image, label in zip(*(part[:5] for part in ordered), strict=True):
        assert labels[(images == image).all((1, 2, 3))] == [label]
    # Within an epoch too, as a resumed run needs it.
    rest = data.train(16, seed=3, first_epoch=1, first_step=2)
    np.testing.assert_array_equal(next(rest)[0], second[2][0])
    views, _ = next(data.train(16, seed=3, views=2))
    assert views.shape == (16, 2, 12, 12, 3)
    np.testing.assert_array_equal(views[:, 0], first[0][0])
    assert (views[:, 0] != views[:, 1]).any()


def test_validation_split_is_that_of_tensorflows_data():
    """The same config and seed hold out the same images, whichever way they are read."""
    from oekd_tf.data import load

    images, labels = four()
    arguments = {"validation_fraction": 0.25, "split_seed": 5, "max_examples": 40}
    arrays = ArrayData("four", images, labels, images, labels, **arguments)
    data = load({"train": (images, labels), "test": (images, labels)}, **arguments)
    for own, other in (
        (arrays.validation_arrays(), data.validation_arrays()),
        (arrays.test_arrays(), data.test_arrays()),
    ):
        np.testing.assert_array_equal(own[0], other[0])
        np.testing.assert_array_equal(own[1], other[1])
    assert (arrays.num_train, arrays.num_validation) == (data.num_train, data.num_validation)
    np.testing.assert_allclose(arrays.mean, data.mean)
    np.testing.assert_allclose(arrays.std, data.std)
    assert (
        arrays.splits_summary().partition(";")[0].split(", ")[1:]
        == (data.splits_summary().partition(";")[0].split(", ")[1:])
    )


def test_statistics():
    images, labels = four()
    data = ArrayData("four", images, labels, images, labels, validation_fraction=0.0)
    np.testing.assert_allclose(data.mean, images.mean((0, 1, 2)))
    np.testing.assert_allclose(data.std, images.std((0, 1, 2)))


def test_pad_crop_is_tensorflows():
    from oekd_tf.data import augmentation

    images, _ = four(9)
    start = np.array([(row, column) for row in (0, 4, 8) for column in (0, 3, 8)])
    draws = ((start + 0.5) / 9).astype(np.float32)
    np.testing.assert_array_equal(pad_crop(images, start), augmentation.pad_crop(images, draws))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": np.zeros((4, 8, 8, 3))}, "x_train must be uint8.*Received: float64"),
        ({"x_test": np.zeros((4, 8, 8), np.uint8)}, r"x_test must be uint8.*\(4, 8, 8\)"),
        ({"y_train": np.zeros(3, int)}, "y_train must be one class index for each of 4"),
        ({"y_test": np.full(4, 9)}, "from 0 to 0.*Received: 9 at index 0"),
        ({"y_train": np.array([0, 2**32, 0, 0])}, "y_train .*Received: 4294967296 at index 1$"),
        ({"y_train": np.array([0, 50_000, 1, 0])}, "Received: 50000 at index 1, and 49,998 of"),
        ({"x_test": np.zeros((4, 9, 8, 3), np.uint8)}, "must have the training images' shape"),
        ({"validation_fraction": 0.99}, "leave images to train on"),
    ],
)
def test_arrays_that_are_refused(change, message):
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.zeros(4, int)
    values = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    with pytest.raises(ConfigError, match=message):
        ArrayData("zeros", **{**values, **change})


def test_files_that_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"readable .npz file\. Received: "):
        load_arrays(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_text("no arrays")
    with pytest.raises(ConfigError, match=r"readable .npz file\. Received: "):
        load_arrays(tmp_path / "bad.npz")
    np.savez(tmp_path / "half.npz", x_train=np.zeros(1), y_train=np.zeros(1))
    with pytest.raises(ConfigError, match="without x_test, y_test"):
        load_arrays(tmp_path / "half.npz")


@pytest.mark.parametrize(
    ("field", "value"),
    [("augmentation", ("rand_augment",)), ("mixup", 0.2), ("image_size", (8, 8))],
)
def test_what_arrays_lack_is_refused(tmp_path, arrays, field, value):
    config = config_module.default_config()
    config.data[field] = value
    with pytest.raises(ConfigError, match=rf"config.data.{field} must be .*Received: "):
        array_training.train_arrays(config, arrays, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert ARRAY_AUGMENTATIONS == ("pad_crop", "flip")
