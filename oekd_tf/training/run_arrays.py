"""Runs on NumPy arrays, on any backend of Keras, without TensorFlow."""

from collections.abc import Callable
from pathlib import Path

from ml_collections import ConfigDict

from oekd_tf import config as config_module
from oekd_tf.core.choices import ARRAY_AUGMENTATIONS
from oekd_tf.core.errors import ConfigError
from oekd_tf.core.records import Summary
from oekd_tf.data.npz import ArrayData, load_arrays
from oekd_tf.training.run import train


def train_arrays(
    config: ConfigDict,
    arrays: str | Path,
    workdir: str | Path,
    log: Callable[[str], None] = print,
) -> Summary:
    """Trains, evaluates and reports, as `train` does with a data set by name.

    Runs on one device, without export: students are exported later, on a machine with TensorFlow,
    from the workdir's `ensemble.keras`.

    Args:
        config: The config; `data.source` is only a name here.
        arrays: Path of the .npz file, for `oekd_tf.data.npz.load_arrays`.
        workdir: Folder of the run; with `config.only_student`, a folder in it.
        log: Called with each progress message.

    Returns:
        The content of `summary.json`.

    Raises:
        ConfigError: The config or the arrays break a rule.
        NonFiniteLossError: A loss became NaN.

    Example:
        >>> config.backbone.arguments.depth = 110
        >>> train_arrays(config, "cifar100.npz", "runs/cifar100_resnet110")
    """
    config_module.check(config)
    _refuse_what_arrays_lack(config)
    data = ArrayData(
        config.data.source,
        **load_arrays(arrays),
        validation_fraction=config.data.validation_fraction,
        split_seed=config.data.split_seed,
        max_examples=config.data.max_examples or None,
    )
    return train(config, workdir, log, data=data)


def _refuse_what_arrays_lack(config: ConfigDict) -> None:
    """Raises for fields that have no effect on runs on arrays."""
    for field, fit in (
        ("data.train_split", ("train",)),
        ("data.test_split", ("auto", "test")),
        ("data.imbalance", (1.0,)),
        ("strategy", ("auto", "none")),
    ):
        if (value := config_module.get(config, field)) not in fit:
            raise ConfigError(
                f"config.{field} must be {fit[0]!r} with --arrays. Received: {value!r}"
            )
    unknown = [name for name in config.data.augmentation if name not in ARRAY_AUGMENTATIONS]
    if unknown:
        raise ConfigError(
            f"config.data.augmentation must be among {', '.join(ARRAY_AUGMENTATIONS)} with "
            f"--arrays. Received: {', '.join(unknown)}"
        )
    for field in (
        "teacher_workdir", "data.teacher_logits", "ensemble.frozen_stem_epochs", "logical_cpus",
        "data.image_size", "data.mixup",
        "data.cutmix", "data.label_smoothing", "data.label_noise", "data.examples_per_class",
        "ensemble.int8_bytes",
        "ensemble.latency_ms",
    ):  # fmt: skip
        if value := config_module.get(config, field):
            default = config_module.FIELDS[field].default
            raise ConfigError(
                f"config.{field} must be {default!r} with --arrays. Received: {value!r}"
            )
