"""From a config to a trained run in its workdir."""

import contextlib
import json
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from ml_collections import ConfigDict

import oekd_tf
from oekd_tf import callbacks, distribution, model_building, report
from oekd_tf import config as config_module
from oekd_tf.atomic import write_text
from oekd_tf.compression import FineTuning
from oekd_tf.config_errors import ConfigError, naming
from oekd_tf.data import Data, load
from oekd_tf.ensemble import OnlineEnsemble
from oekd_tf.export.errors import ExportError, RefusedFilesError
from oekd_tf.export.formats import DEFAULT_FORMATS, parse
from oekd_tf.fitting import fit
from oekd_tf.trade_off import draw_trade_off, trade_off_rows
from oekd_tf.workdir import held, refuse_other_config, run_folder


def train(config: ConfigDict, workdir: str | Path, say: Callable[[str], None] = print) -> dict:
    """Trains, evaluates, reports and exports the run that a config describes.

    A workdir that holds a checkpoint of the same config is gone on with; one that holds a
    finished run is only reported, and exported if it has not been. The test split is read once,
    after the last epoch.

    Args:
        config: As `oekd_tf.config.default_config` makes them.
        workdir: Where the run leaves its config, metrics, logs, checkpoints and report. With
            `config.only_student`, a folder `baseline_student_<i>` in it.
        say: Receives each line for the user.

    Returns:
        The content of the run's `summary.json`.

    Raises:
        ConfigError: The config breaks a rule or contradicts the workdir's.
        NonFiniteLossError: An image, a loss or a gradient was NaN; the last checkpoint stays.
        Preempted: SIGTERM came; a checkpoint of the last step is there. A SystemExit, code 143.
        WorkerLostError: Another host died.

    Example:
        >>> config = oekd_tf.config.default_config()
        >>> summary = oekd_tf.training.train(config, "runs/first")
    """
    config_module.check(config)
    family = Path(workdir)
    workdir = run_folder(family, config.only_student, offline=bool(config.teacher_workdir))
    refuse_other_config(config, workdir)
    exports = bool(config.export.formats) and not config.only_student
    if exports:
        refuse_existing_export(config, workdir)
    with naming((), "config.strategy and config.logical_cpus must suit this machine"):
        strategy = distribution.make_strategy(config.strategy, config.logical_cpus)
    chief = distribution.is_chief(strategy)
    if not chief:
        say = _silent
    # Of several hosts the chief holds the workdir for all.
    with (
        held(workdir) if chief else contextlib.nullcontext(),
        distribution.naming_lost_workers(strategy),
    ):
        summary, is_new = _finished_run(config, workdir, strategy, say)
        if not chief:
            return summary
        return _deliver(config, family, workdir, summary, exports, is_new, say)


def _finished_run(
    config: ConfigDict, workdir: Path, strategy: tf.distribute.Strategy, say: Callable[[str], None]
) -> tuple[dict, bool]:
    """A run's summary, and whether it had to be trained for."""
    summary_path = workdir / "summary.json"
    finished = summary_path.exists()
    distribution.check_alike(strategy, finished=finished)
    if finished:
        say(f"{workdir} holds a finished run; a new one needs another --workdir")
        return json.loads(summary_path.read_text()), False
    set_runtime(config)
    data = load_data(config)
    say(f"data: {data.splits_summary()}")
    if not data.num_test:
        raise ConfigError(
            "config.data.test_split must be a split of the data set, to test on at the end. "
            f"Received: {config.data.test_split!r}, and {data.name} has none"
        )
    model = build_model(config, data, strategy)
    summary = _fit_and_evaluate(config, data, model, strategy, workdir, say)
    if distribution.is_chief(strategy):
        write_text(summary_path, json.dumps(summary, indent=2) + "\n")
    return summary, True


def _deliver(
    config: ConfigDict,
    family: Path,
    workdir: Path,
    summary: dict,
    exports: bool,
    is_new: bool,
    say: Callable[[str], None],
) -> dict:
    """Exports and reports a finished run; returns its summary."""
    refused = None
    if exports and ((is_new and config.export.overwrite) or not export_folder(config).exists()):
        try:
            export_run(workdir, say=say)
        except ExportError as error:
            # What passed is delivered, and the report tells of it.
            refused = error
    if (family / "summary.json").exists():
        say(report.write_report(family))
    elif config.only_student:
        student = summary["students"][0]
        say(f"{student['name']} alone: test accuracy {student['test_accuracy']:.4f}")
    if refused:
        raise refused
    return summary


def _silent(line: str) -> None:
    """Of several hosts the chief speaks for all."""


@naming(
    [field for field in config_module.FIELDS if field.startswith("data.")],
    "config.data.source, config.data.train_split and config.data.max_examples must give images to "
    "train on",
)
def load_data(config: ConfigDict) -> Data:
    """The data set that a config names, or a ConfigError that names the field."""
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


def build_model(config: ConfigDict, data: Data, strategy: tf.distribute.Strategy) -> keras.Model:
    """The compiled ensemble, or the one student that is to be trained alone.

    A student alone is the very network that it is in the ensemble of the same seed, with the same
    initial weights, under the same optimizer and schedule; it learns from the labels only, or, with
    `config.teacher_workdir`, from the student 1 that was trained alone there too.

    Args:
        config: The config.
        data: What it will be trained on.
        strategy: Where.

    Returns:
        A compiled `OnlineEnsemble`, or a compiled functional model.

    Raises:
        ConfigError: A rule of the networks is broken, or there is no trained teacher.
    """
    teacher = _teacher(config.teacher_workdir) if config.teacher_workdir else None
    with naming(["batch_size"], "config.batch_size must suit the data"):
        steps_per_epoch = data.steps_per_epoch(config.batch_size)
    with strategy.scope():
        return model_building.build(
            config,
            data.image_shape,
            data.num_classes,
            data.mean,
            data.std,
            steps_per_epoch,
            replicas=strategy.num_replicas_in_sync,
            teacher=teacher,
        )


def _teacher(workdir: str) -> keras.Model:
    folder = run_folder(workdir, 1)
    if not (folder / "summary.json").exists():
        raise ConfigError(
            "config.teacher_workdir must hold a finished run of student 1 alone "
            f"(config.only_student=1). Received: {workdir!r}"
        )
    return restore_run(folder)[2]


def restore_run(workdir: str | Path) -> tuple[ConfigDict, Data, keras.Model]:
    """The config, data and trained model of a workdir.

    Args:
        workdir: What a run left.

    Returns:
        Its config, its data, and the model with the weights of its newest checkpoint.

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
    # The teacher has done its work, and may lie elsewhere by now.
    with config.unlocked():
        config.teacher_workdir = ""
    model = build_model(config, data, tf.distribute.get_strategy())
    if not callbacks.Checkpoints(workdir / "checkpoints").restore(model):
        raise ConfigError(f"A workdir must hold a checkpoint. Received: none in {workdir}")
    return config, data, model


def export_folder(config: ConfigDict) -> Path:
    """Where a config's run is exported to."""
    return Path(config.export.output or f"savedmodels/{config.name}")


def export_run(
    workdir: str | Path,
    output: str | Path | None = None,
    formats: tuple[str, ...] | None = None,
    overwrite: bool | None = None,
    fields: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> dict:
    """Exports every student of a finished run.

    Args:
        workdir: The run's.
        output: Folder to export to; the config's if None.
        formats: Names of `oekd_tf.export.formats`; the config's if None.
        overwrite: Whether to replace an export that is there; the config's if None.
        fields: Values for fields of the config's `export` and `fine_tuning`, by dotted path.
        say: Receives a line a file.

    Returns:
        The manifest, which is also written to `output`.

    Raises:
        ConfigError: The workdir holds no ensemble, or a field breaks its rule.
        ExportError: A file does not do what the Keras student does; those that do are delivered.
    """
    config, data, model = restore_run(workdir)
    config_module.set_fields(config, fields or {}, within=("export", "fine_tuning"))
    if config.only_student:
        raise ConfigError(
            "A workdir to export must hold an ensemble. Received: the baseline of student "
            f"{config.only_student} in {workdir}"
        )
    output = Path(output) if output else export_folder(config)
    wanted = tuple(config.export.formats if formats is None else formats) or DEFAULT_FORMATS
    say(f"exporting to {output}")
    images, labels = data.test_arrays()
    calibration = min(config.export.calibration_images, data.num_train)
    exact = [name for name in wanted if parse(name).exact]
    tuned = any(parse(name).stages for name in wanted)
    drops = dict.fromkeys(wanted, config.export.max_accuracy_drop)
    drops |= dict.fromkeys(exact, config.export.max_accuracy_drop_float)
    processes = config.export.processes
    try:
        manifest = oekd_tf.export.export_students(
            model,
            output,
            formats=wanted,
            calibration_images=data.train_images(calibration, config.export.calibration_seed),
            calibration_batch_size=config.export.calibration_batch_size,
            batch_size=config.export.batch_size or None,
            fine_tuning=_fine_tuning(config, data, model) if tuned else None,
            test_images=images,
            test_labels=labels,
            class_names=data.class_names,
            max_accuracy_drop=drops,
            min_agreement=dict.fromkeys(exact, config.export.min_agreement_float),
            widths=list(config.ensemble.widths),
            provenance={
                "config": config.to_dict(),
                "workdir": str(workdir),
                "command": " ".join(sys.argv),
            },
            overwrite=config.export.overwrite if overwrite is None else overwrite,
            processes=None if processes < 0 else processes,
            progress=say,
        )
    except RefusedFilesError:
        _show_files(output, say)
        raise
    _show_files(output, say)
    return manifest


def _show_files(output: Path, say: Callable[[str], None]) -> None:
    manifest = oekd_tf.export.read_manifest(output)
    draw_trade_off(manifest, output / "trade_off.png")
    say(f"\n{report.markdown_table(trade_off_rows(manifest))}\n")
    say(f"students: {output}\npicture: {output / 'trade_off.png'}")


def _fine_tuning(config: ConfigDict, data: Data, ensemble: OnlineEnsemble) -> FineTuning:
    """On the data and under the loss weights of the run; its epochs follow the run's own."""
    return FineTuning(
        ensemble,
        data.train(
            config.batch_size,
            seed=config.seed,
            first_epoch=config.epochs,
            augmentation=tuple(config.data.augmentation),
            mixup=config.data.mixup,
            cutmix=config.data.cutmix,
            label_smoothing=config.data.label_smoothing,
        ),
        data.steps_per_epoch(config.batch_size),
        epochs=config.fine_tuning.epochs,
        learning_rate=config.fine_tuning.learning_rate,
        temperature=config.loss.temperature,
        label_weight=config.loss.label_weight,
        distillation_weight=config.loss.distillation_weight,
        sparsity=config.fine_tuning.sparsity,
        clusters=config.fine_tuning.clusters,
    )


def refuse_existing_export(config: ConfigDict, workdir: Path) -> None:
    """Raises before any training when the export's folder holds something else."""
    output = export_folder(config)
    if not output.exists() or config.export.overwrite or (workdir / "summary.json").exists():
        return
    raise ConfigError(
        "config.export.output must be a folder that is not there yet, or config.export.overwrite "
        f"True. Received: {output}, which exists"
    )


def set_runtime(config: ConfigDict) -> None:
    """Sets what TensorFlow has for the whole process: graph rewriting and determinism."""
    # Graph rewriting takes as long as tracing and its gain is not measurable on a CPU.
    if not tf.config.list_physical_devices("GPU"):
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    if config.deterministic:
        keras.utils.set_random_seed(config.seed)
        tf.config.experimental.enable_op_determinism()


def _fit_and_evaluate(
    config: ConfigDict,
    data: Data,
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    workdir: Path,
    say: Callable[[str], None],
) -> dict:
    chief = distribution.is_chief(strategy)
    if chief:
        write_text(workdir / "config.json", config_module.to_json(config))
    seconds = fit(config, data, model, strategy, workdir, say)
    say("evaluating on the test split ...")
    size = distribution.evaluation_batch_size(strategy, data.num_test, config.batch_size)
    test = model.evaluate(
        distribution.distribute(strategy, lambda share: data.test(size, share)),
        verbose=0,
        return_dict=True,
    )
    summary = {
        "name": config.name,
        "seed": config.seed,
        "epochs": config.epochs,
        "steps": config.epochs * data.steps_per_epoch(config.batch_size),
        "replicas": strategy.num_replicas_in_sync,
        "train_seconds": round(seconds, 1),
        "data": data.splits_summary(),
        "students": model_building.describe_students(config, model, test),
        "teacher_test_accuracy": test.get("teacher_accuracy"),
        "test_logs": test,
        "versions": {
            "oekd_tf": oekd_tf.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "python": platform.python_version(),
        },
    }
    if config.export.formats and not config.only_student:
        summary["exports"] = str(export_folder(config))
    return summary
