"""Fixtures for all tests."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# As the binaries have it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import pytest
import tensorflow as tf

# Before TensorFlow's devices are first used: the replica tests need two CPUs in this process.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

ROOT = Path(__file__).parent.parent

pytest_plugins = ["export_fixtures"]

# Files that take minutes, so that none of them is begun when the other process is done.
LONGEST = (
    "test_battery.py", "test_resume.py", "test_multi_worker.py", "test_run.py", "test_readme.py",
    "test_replicas.py", "test_replicas_that_refuse.py", "test_export_students.py",
    "test_fine_tuning.py", "test_study.py", "test_online_ensemble.py", "test_batch_checks.py",
    "test_quantization_aware.py", "test_formats.py", "test_parameter_counts.py", "test_methods.py",
    "test_families.py", "test_cifar_resnet.py", "test_tflite_model.py", "test_config_fuzz.py",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def batch(rng):
    """Eight random 16×16 colour images and labels of four classes."""
    images = rng.integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    return images, rng.integers(0, 4, 8).astype(np.int32)


@pytest.fixture(scope="session")
def mirrored():
    """Two replicas on the CPU.

    One strategy for all tests: a second one in a process gives its collectives the first one's
    keys.
    """
    from oekd_tf.models.distributed.strategy import make_strategy

    strategy = make_strategy("mirrored", logical_cpus=2)
    assert strategy.num_replicas_in_sync == 2
    return strategy
