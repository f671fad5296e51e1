"""Restores the data set and the model of a run from its config and checkpoints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from ml_collections import ConfigDict

from oekd_tf import config as config_module
from oekd_tf.core.errors import ConfigError, as_config_error
from oekd_tf.data.folder import changes
from oekd_tf.data.recorded import Recorded, RecordedData
from oekd_tf.data.teacher_logits import read_logits
from oekd_tf.models.pretrained.source import Source
from oekd_tf.training import build
from oekd_tf.training.callbacks.best_epoch import restore_best
from oekd_tf.training.callbacks.checkpoints import Checkpoints
from oekd_tf.training.contract import adopt, kept_files, read_contract, recorded
from oekd_tf.training.hosts import Hosts, TensorFlowHosts, set_runtime, this_device
from oekd_tf.training.workdir import require_run, run_folder


@as_config_error(
    [field for field in config_module.FIELDS if field.startswith("data.")],
    "config.data.source, config.data.train_split and config.data.max_examples must give images to "
    "train on",
)
def load_data(
    config: ConfigDict,
    *,
    recorded: Recorded | None = None,
    log: Callable[[str], None] | None = None,
) -> Any:
    """Loads the data set of a config.

    Args:
        config: The config.
        recorded: What a finished run has recorded of its data, to leave out what was added.
        log: Called before something that takes long.

    Returns:
        The data set.

    Raises:
        ConfigError: A value or the data break a rule; the message names the field.
    """
    from oekd_tf.data import load

    data = config.data
    return load(
        data.source,
        data_dir=data.data_dir or None,
        train_split=data.train_split,
        validation_split=data.validation_split,
        test_split=data.test_split,
        image_key=data.image_key,
        label_key=data.label_key,
        image_size=tuple(data.image_size) or None,
        validation_fraction=data.validation_fraction,
        test_fraction=data.test_fraction,
        group_key=data.group_key,
        split_seed=data.split_seed,
        download=data.download,
        max_examples=data.max_examples or None,
        examples_per_class=data.examples_per_class or None,
        imbalance=data.imbalance,
        cache=data.cache,
        central_crop=data.central_crop,
        recorded=recorded,
        log=log,
    )


def load_data_of_run(
    workdir: str | Path, config: ConfigDict, data_dir: str | Path | None = None
) -> Any:
    """Loads the data set of a finished run as it was when the run began.

    Args:
        workdir: Folder of the run.
        config: The run's config.
        data_dir: Where the data are now; the config's `data.data_dir` if None.

    Returns:
        The data set, without what was added since.

    Raises:
        ConfigError: The data are not there any more, or have changed.
    """
    if data_dir:
        with config.unlocked():
            config.data.data_dir = str(data_dir)
    contract = read_contract(workdir)
    if contract is None:
        validate_as_before_contracts(config)
    elif config.data.source == "image_folder":
        folder = Path(config.data.data_dir)
        if not folder.is_dir():
            raise ConfigError(
                f"The pictures of the run in {workdir} must be where they were, or --data_dir must "
                f"say where they are. Received: {folder}, which is not there"
            )
    data = load_data(config, recorded=recorded(workdir))
    if contract is not None:
        adopt(data, contract, workdir)
    return data


def validate_as_before_contracts(config: ConfigDict) -> None:
    """Runs of version 0.1 held their validation images out, whatever splits there were."""
    with config.unlocked():
        config.data.validation_split = "hold_out"


def training_batches(config: ConfigDict, data: Any, **arguments: Any) -> Any:
    """The training batches of a run, with the augmentation of its config.

    Args:
        config: The run's config.
        data: The data set.
        **arguments: Other arguments of `Data.train`, such as `first_epoch` and `share`.

    Returns:
        Endless batches.
    """
    if config.data.teacher_logits and not config.only_student:
        arguments["teacher_logits"] = teacher_logits(config, data)
    return data.train(
        config.batch_size,
        seed=config.seed,
        augmentation=tuple(config.data.augmentation),
        mixup=config.data.mixup,
        cutmix=config.data.cutmix,
        label_smoothing=config.data.label_smoothing,
        label_noise=config.data.label_noise,
        label_noise_kind=config.data.label_noise_kind,
        noise_seed=config.data.split_seed,
        sampling=config.data.sampling,
        **arguments,
    )


def teacher_logits(config: ConfigDict, data: Any) -> np.ndarray:
    """The stored logits of a config, of these data.

    Args:
        config: The run's config.
        data: The data set.

    Raises:
        ConfigError: They are not there, or of other data.
    """
    with as_config_error(["data.teacher_logits"], "config.data.teacher_logits must suit the data"):
        return read_logits(config.data.teacher_logits, data)


def build_model(
    config: ConfigDict, data: Any, hosts: Hosts | Any = None, initial: Source | None = None
) -> keras.Model:
    """Builds the compiled ensemble, or one student to be trained alone.

    A student alone is the same network as in the ensemble of the same seed, with the same initial
    weights, optimizer and schedule. It is trained on labels only, or, with
    `config.teacher_workdir`, distilled from the student 1 that was trained alone there.

    Args:
        config: The config.
        data: The data set.
        hosts: Hosts or `tf.distribute` strategy to train on; this device if None.
        initial: What students begin with in training; None where a checkpoint follows.

    Returns:
        A compiled `OnlineEnsemble`, or a compiled functional model.

    Raises:
        ConfigError: A rule of the networks is broken, or there is no trained teacher.
    """
    if hosts is None:
        hosts = this_device()
    elif not hasattr(hosts, "is_chief"):
        hosts = TensorFlowHosts(hosts)
    teacher = _teacher(config.teacher_workdir, data) if config.teacher_workdir else None
    with as_config_error(["batch_size"], "config.batch_size must suit the data"):
        steps_per_epoch = data.steps_per_epoch(config.batch_size)
    balance = build.label_balance(config, data)
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
            initial=initial,
            **balance,
        )


def restore_run(
    workdir: str | Path, data_dir: str | Path | None = None
) -> tuple[ConfigDict, Any, keras.Model]:
    """Restores the config, data set and trained model of a run.

    The model is built from the run's contract. The data set is the one that the run began with:
    pictures that were added to its folder since are left out.

    Args:
        workdir: Folder of a run.
        data_dir: Where the data are now; the config's `data.data_dir` if None.

    Returns:
        The config, the data set, and the model with the weights of the newest checkpoint, or
        of the best epoch, where the config restores it.

    Raises:
        ConfigError: The folder holds no run, or no checkpoint, or the data have changed.

    Example:
        >>> config, data, ensemble = restore_run("runs/demo")
        >>> ensemble.students[-1].summary()
    """
    config = read_config(workdir)
    set_runtime(config)
    data = load_data_of_run(workdir, config, data_dir)
    return config, data, restore_model(workdir, config, data)


def read_config(workdir: str | Path) -> ConfigDict:
    """Reads the config of a run.

    Args:
        workdir: Folder of the run.

    Raises:
        ConfigError: The folder holds no run.
    """
    path = require_run(workdir)
    # The files that the method was given may have been moved, or be others now.
    return config_module.from_file(path, arguments=kept_files(workdir))


def restore_model(
    workdir: str | Path,
    config: ConfigDict | None = None,
    data: Any = None,
    log: Callable[[str], None] = print,
) -> keras.Model:
    """Restores the trained model of a run, without its data.

    Args:
        workdir: Folder of a run.
        config: The run's config; read from the folder if None.
        data: The run's data set; what its contract says of it if None.
        log: Called with messages about checkpoints.

    Returns:
        The model with the weights of the newest checkpoint, or of the best epoch, where the config
        restores it.

    Raises:
        ConfigError: The folder holds no run, or no checkpoint.
        CheckpointError: The checkpoints are damaged.

    Example:
        >>> ensemble = restore_model("runs/demo")
    """
    workdir = Path(workdir)
    if config is None:
        config = read_config(workdir)
        set_runtime(config)
    if data is None:
        contract = read_contract(workdir)
        # Runs of version 0.1 have no contract.
        data = load_data(config) if contract is None else RecordedData(contract)
    # The teacher is not needed any more, and may have been moved.
    config = config.copy_and_resolve_references()
    config.teacher_workdir = ""
    model = build_model(config, data)
    position = Checkpoints(workdir / "checkpoints").restore_position(model, log, config.epochs)
    if not position.epochs:
        raise ConfigError(f"A workdir must hold a checkpoint. Received: none in {workdir}")
    if config.early_stopping.restore_best:
        restore_best(workdir, position, model, log)
    return model


def _teacher(workdir: str, data: Any) -> keras.Model:
    folder = run_folder(workdir, 1)
    if not (folder / "summary.json").exists():
        raise ConfigError(
            "config.teacher_workdir must hold a finished run of student 1 alone "
            f"(config.only_student=1). Received: {workdir!r}"
        )
    contract = read_contract(folder)
    if contract is not None and contract["class_names"] != list(data.class_names):
        raise ConfigError(
            "config.teacher_workdir must hold a run of the same classes in the same order. "
            f"Received: {workdir!r}, {changes(contract['class_names'] or (), data.class_names)}"
        )
    return restore_model(folder)
