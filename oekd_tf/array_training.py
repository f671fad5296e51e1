"""From a config and arrays to a trained run, on any backend of Keras; no TensorFlow needed."""

import json
import platform
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from ml_collections import ConfigDict

import oekd_tf
from oekd_tf import callbacks, model_building, report
from oekd_tf import config as config_module
from oekd_tf.array_data import AUGMENTATIONS, ArrayData, load_arrays
from oekd_tf.atomic import write_text
from oekd_tf.config_errors import ConfigError
from oekd_tf.ensemble import OnlineEnsemble
from oekd_tf.workdir import held, refuse_other_config, run_folder


def train_arrays(
    config: ConfigDict,
    arrays: str | Path,
    workdir: str | Path,
    say: Callable[[str], None] = print,
) -> dict:
    """Trains, evaluates and reports, from where the workdir's last run stopped.

    What `oekd_tf.training.train` does with TFDS, on one device, without export: students are
    exported later, on a machine with TensorFlow, from the workdir's `ensemble.keras`.

    Args:
        config: As of `oekd_tf.config.default_config`; `data.source` is only a name here.
        arrays: As of `oekd_tf.array_data.load_arrays`.
        workdir: Where everything goes; with `config.only_student`, a folder in it.
        say: Receives each line for the user.

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
    )
    family, workdir = Path(workdir), run_folder(workdir, config.only_student)
    refuse_other_config(config, workdir)
    with held(workdir):
        path = workdir / "summary.json"
        if path.exists():
            say(f"{workdir} holds a finished run; a new one needs another --workdir")
            summary = json.loads(path.read_text())
        else:
            summary = _run(config, data, workdir, say)
            write_text(path, json.dumps(summary, indent=2) + "\n")
        if (family / "summary.json").exists():
            say(report.write_report(family))
    return summary


def _run(config: ConfigDict, data: ArrayData, workdir: Path, say: Callable[[str], None]) -> dict:
    steps = data.steps_per_epoch(config.batch_size)
    sizes = [len(split[0]) for split in (data.train, data.validation, data.test)]
    shape = "×".join(map(str, data.image_shape))
    about = (
        f"{data.name}, {sizes[0]:,} training, {sizes[1]:,} validation and {sizes[2]:,} test images "
        f"of {shape}, {data.num_classes} classes; arrays"
    )
    say(f"data: {about}")
    mean, std = data.statistics()
    model = model_building.build(config, data.image_shape, data.num_classes, mean, std, steps)
    write_text(workdir / "config.json", config_module.to_json(config))
    checkpoints = callbacks.Checkpoints(
        workdir / "checkpoints", config.checkpoint_every, config.checkpoints_kept
    )
    first_epoch = checkpoints.restore(model)
    if first_epoch:
        say(f"going on after epoch {first_epoch} of {config.epochs}")
    followers = [
        callbacks.StopOnNan(),
        callbacks.Progress(),
        callbacks.MetricsCsv(workdir / "metrics.csv"),
        checkpoints,
    ]
    ensemble = isinstance(model, OnlineEnsemble)
    if ensemble:
        followers.append(callbacks.PseudoTeacherFirst(config.ensemble.pseudo_teacher_epochs))
    if first_epoch < config.epochs:
        model.fit(
            data.batches(
                config.batch_size, config.seed, first_epoch, tuple(config.data.augmentation)
            ),
            steps_per_epoch=steps,
            initial_epoch=first_epoch,
            epochs=config.epochs,
            validation_data=data.validation if sizes[1] else None,
            validation_batch_size=config.batch_size,
            verbose=0,
            callbacks=followers,
        )
    seconds = checkpoints.seconds
    say("evaluating on the test split ...")
    images, labels = data.test
    test = model.evaluate(images, labels, batch_size=config.batch_size, verbose=0, return_dict=True)
    test = {name: float(np.asarray(value)) for name, value in test.items()}
    model.save(workdir / ("ensemble.keras" if ensemble else "student.keras"))
    return {
        "name": config.name,
        "seed": config.seed,
        "epochs": config.epochs,
        "steps": config.epochs * steps,
        "replicas": 1,
        "train_seconds": round(seconds, 1),
        "data": about,
        "students": model_building.describe_students(config, model, test),
        "teacher_test_accuracy": test.get("teacher_accuracy"),
        "test_logs": test,
        "versions": {
            "oekd_tf": oekd_tf.__version__,
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
            "python": platform.python_version(),
        },
    }


def _refuse_what_arrays_lack(config: ConfigDict) -> None:
    """Better refused than left out unsaid."""
    for field, fit in (
        ("data.train_split", ("train",)),
        ("data.test_split", ("auto", "test")),
        ("strategy", ("auto", "none")),
    ):
        if (value := config_module.get(config, field)) not in fit:
            raise ConfigError(
                f"config.{field} must be {fit[0]!r} with --arrays. Received: {value!r}"
            )
    unknown = [name for name in config.data.augmentation if name not in AUGMENTATIONS]
    if unknown:
        raise ConfigError(
            f"config.data.augmentation must be among {', '.join(AUGMENTATIONS)} with --arrays. "
            f"Received: {', '.join(unknown)}"
        )
    for field in (
        "teacher_workdir", "logical_cpus", "data.image_size", "data.max_examples", "data.mixup",
        "data.cutmix", "data.label_smoothing",
    ):  # fmt: skip
        if value := config_module.get(config, field):
            default = config_module.FIELDS[field].default
            raise ConfigError(
                f"config.{field} must be {default!r} with --arrays. Received: {value!r}"
            )
