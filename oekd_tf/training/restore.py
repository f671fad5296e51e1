"""Restores the data set and the model of a run from its config and checkpoints."""

from pathlib import Path
from typing import Any

import keras
from ml_collections import ConfigDict

from oekd_tf import config as config_module
from oekd_tf.core.errors import ConfigError, as_config_error
from oekd_tf.training import build
from oekd_tf.training.callbacks.checkpoints import Checkpoints
from oekd_tf.training.hosts import Hosts, TensorFlowHosts, set_runtime, this_device
from oekd_tf.training.workdir import run_folder


@as_config_error(
    [field for field in config_module.FIELDS if field.startswith("data.")],
    "config.data.source, config.data.train_split and config.data.max_examples must give images to "
    "train on",
)
def load_data(config: ConfigDict) -> Any:
    """Loads the data set of a config; errors are a ConfigError that names the field."""
    from oekd_tf.data import load

    data = config.data
    return load(
        data.source,
        data_dir=data.data_dir or None,
        train_split=data.train_split,
        test_split=data.test_split,
        image_key=data.image_key,
        label_key=data.label_key,
        image_size=tuple(data.image_size) or None,
        validation_fraction=data.validation_fraction,
        split_seed=data.split_seed,
        download=data.download,
        max_examples=data.max_examples or None,
        cache=data.cache,
        central_crop=data.central_crop,
    )


def training_batches(config: ConfigDict, data: Any, **arguments: Any) -> Any:
    """The training batches of a run, with the augmentation of its config.

    Args:
        config: The run's config.
        data: The data set.
        **arguments: Other arguments of `Data.train`, such as `first_epoch` and `share`.

    Returns:
        Endless batches.
    """
    return data.train(
        config.batch_size,
        seed=config.seed,
        augmentation=tuple(config.data.augmentation),
        mixup=config.data.mixup,
        cutmix=config.data.cutmix,
        label_smoothing=config.data.label_smoothing,
        **arguments,
    )


def build_model(config: ConfigDict, data: Any, hosts: Hosts | Any = None) -> keras.Model:
    """Builds the compiled ensemble, or one student to be trained alone.

    A student alone is the same network as in the ensemble of the same seed, with the same initial
    weights, optimizer and schedule. It is trained on labels only, or, with
    `config.teacher_workdir`, distilled from the student 1 that was trained alone there.

    Args:
        config: The config.
        data: The data set.
        hosts: Hosts or `tf.distribute` strategy to train on; this device if None.

    Returns:
        A compiled `OnlineEnsemble`, or a compiled functional model.

    Raises:
        ConfigError: A rule of the networks is broken, or there is no trained teacher.
    """
    if hosts is None:
        hosts = this_device()
    elif not hasattr(hosts, "is_chief"):
        hosts = TensorFlowHosts(hosts)
    teacher = _teacher(config.teacher_workdir) if config.teacher_workdir else None
    with as_config_error(["batch_size"], "config.batch_size must suit the data"):
        steps_per_epoch = data.steps_per_epoch(config.batch_size)
    with hosts.scope():
        return build.build(
            config,
            data.image_shape,
            data.num_classes,
            data.mean,
            data.std,
            steps_per_epoch,
            replicas=hosts.replicas,
            teacher=teacher,
        )


def restore_run(workdir: str | Path) -> tuple[ConfigDict, Any, keras.Model]:
    """Restores the config, data set and trained model of a run.

    Args:
        workdir: Folder of a run.

    Returns:
        The config, the data set, and the model with the weights of the newest checkpoint.

    Raises:
        ConfigError: The folder holds no run, or no checkpoint.

    Example:
        >>> config, data, ensemble = restore_run("runs/demo")
        >>> ensemble.students[-1].summary()
    """
    workdir = Path(workdir)
    path = workdir / "config.json"
    if not path.exists():
        raise ConfigError(f"A workdir must hold a run's config.json. Received: {workdir}")
    config = config_module.from_json(path.read_text())
    set_runtime(config)
    data = load_data(config)
    # The teacher is not needed any more, and may have been moved.
    with config.unlocked():
        config.teacher_workdir = ""
    model = build_model(config, data)
    if not Checkpoints(workdir / "checkpoints").restore(model):
        raise ConfigError(f"A workdir must hold a checkpoint. Received: none in {workdir}")
    return config, data, model


def _teacher(workdir: str) -> keras.Model:
    folder = run_folder(workdir, 1)
    if not (folder / "summary.json").exists():
        raise ConfigError(
            "config.teacher_workdir must hold a finished run of student 1 alone "
            f"(config.only_student=1). Received: {workdir!r}"
        )
    return restore_run(folder)[2]
