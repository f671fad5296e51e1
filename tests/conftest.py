"""Fixtures for all tests."""

import fnmatch
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
    "test_pretrained_run.py", "test_predict.py", "test_robustness_run.py", "test_embeddings.py",
    "test_pretrained.py",
    "test_pruned_network.py",
    "test_replicas.py", "test_replicas_that_refuse.py", "test_export_students.py",
    "test_fine_tuning.py", "test_study.py", "test_online_ensemble.py", "test_batch_checks.py",
    "test_quantization_aware.py", "test_formats.py", "test_parameter_counts.py", "test_methods.py",
    "test_families.py", "test_cifar_resnet.py", "test_tflite_model.py", "test_config_fuzz.py",
)  # fmt: skip


# Variants of what another test covers, which would take the default run over its time.
VARIANTS = (
    "test_against_keras_applications.py::*DenseNet121*",
    "test_against_keras_applications.py::*EfficientNetB0*",
    "test_against_keras_applications.py::*MobileNetV2-0.5*",
    "test_against_keras_applications.py::test_resnet_*",
    "test_battery.py::test_check[[]cl_ilr-resume]",
    "test_battery.py::test_check[[]cl_ilr-saving]",
    "test_battery.py::test_check[[]dml-resume]",
    "test_battery.py::test_check[[]dml-saving]",
    "test_battery.py::test_check[[]Gated-saving]",
    "test_battery.py::test_check[[]ffl-resume]",
    "test_battery.py::test_check[[]ffl-saving]",
    "test_battery.py::test_check[[]kdcl-resume]",
    "test_battery.py::test_check[[]kdcl-saving]",
    "test_battery.py::test_check[[]labels-resume]",
    "test_battery.py::test_check[[]labels-saving]",
    "test_battery.py::test_check[[]one-resume]",
    "test_battery.py::test_check[[]Views-resume]",
    "test_battery.py::test_check[[]Views-saving]",
    "test_balanced.py::*[[]encoded]",
    "test_battery.py::test_check_in_a_process[[]labels-replicas]",
    "test_batch_checks.py::test_another_rank_than_before",
    "test_batch_checks.py::TestReplicas::test_gradient",
    "test_batch_checks.py::TestScaledPictures::test_replicas",
    "test_best_epoch.py::*[[]val_label_loss]",
    "test_budgets.py::test_an_impossible_budget*budgets1*",
    "test_cifar_resnet.py::test_parameter_counts[[][234]*",
    "test_configs.py::*densenet100_k12*",
    "test_decoding.py::test_crops_before_decoding*[[]3]",
    "test_embeddings.py::test_on_the_command_line*",
    "test_families.py::*[[]*-large-*",
    "test_families.py::*[[]ResNeXt*",
    "test_families.py::*[[]WideResNet*",
    "test_families.py::*[[]EfficientNet*",
    "test_families.py::*[[]MobileNetV2*",
    "test_families.py::test_channels_are_multiples[[]MobileNetV3-32_1*",
    "test_files.py::test_kill_in_the_middle[[][01]]",
    "test_function_backbone.py::test_weights_that_the_function_loads*[[]False]",
    "test_families.py::*[[]ImageNetDenseNet*",
    "test_imagenet_configs.py::*[[]imagenet_resnet18]",
    "test_imbalance.py::*[[]tf.data]",
    "test_imbalance.py::test_every_method[[]settings[12]*",
    "test_load.py::*[[]encoded]",
    "test_online_ensemble.py::*[[]mixed_bfloat16]",
    "test_online_ensemble.py::*any_keras_optimizer[[]optimizer[12]]",
    "test_online_ensemble.py::*with_optimizer[[]sgd]",
    "test_parameter_counts.py::*-b[2-7]-*",
    "test_parameter_counts.py::*DenseNet-1[06]*",
    "test_parameter_counts.py::*DenseNet-201*",
    "test_parameter_counts.py::*WideResNet-101*",
    "test_parameter_counts.py::test_deep_densenets*",
    "test_pretrained.py::*family2*",
    "test_pretrained.py::*family3*",
    "test_pruned_network.py::*[[]False-MobileNetV3Small]",
    "test_own_teacher.py::test_the_loss_by_hand[[]example-*",
    "test_own_teacher.py::test_the_loss_by_hand[[]better-1.0]",
    "test_predict.py::*test_on_the_command_line*",
    "test_robustness_run.py::test_other_settings*",
    "test_shards.py::*[[]encoded]",
    "test_shards.py::test_how_much_memory_is_free*",
    "test_splice.py::*[[]DenseNet]",
    "test_teacher_weights.py::test_two_steps_of_a_rule[[]example]",
    "test_twin.py::*[[]MobileNetV3]",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if any(fnmatch.fnmatchcase(item.nodeid, f"*/{variant}") for variant in VARIANTS):
            item.add_marker(pytest.mark.slow)
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
