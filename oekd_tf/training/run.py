"""Training, evaluation, report and export of a run."""

import contextlib
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
from ml_collections import ConfigDict

from oekd_tf import config as config_module
from oekd_tf.core import machine
from oekd_tf.core.errors import ConfigError, ExportError, as_config_error
from oekd_tf.core.files import sha256, temporary_path, write_text
from oekd_tf.core.records import Summary
from oekd_tf.data.mirroring import mirror_warning
from oekd_tf.data.teacher_logits import FEATURE
from oekd_tf.models.online_ensemble import OnlineEnsemble
from oekd_tf.training import report
from oekd_tf.training.build import describe_method, describe_students
from oekd_tf.training.contract import (
    adopt,
    keep_files,
    read_contract,
    refuse_other_data,
    write_contract,
)
from oekd_tf.training.export import export_folder, export_run, refuse_existing_export
from oekd_tf.training.hosts import Hosts, make_hosts, set_runtime
from oekd_tf.training.initial import (
    check_initial_weights,
    dropped_unless_begun,
    initial_facts,
    keep_initial_weights,
    read_initial_weights,
    take_pixels,
)
from oekd_tf.training.loop import fit, monitored
from oekd_tf.training.per_class import confusions, per_class, save_confusions
from oekd_tf.training.restore import (
    build_model,
    load_data,
    restore_model,
    teacher_logits,
    validate_as_before_contracts,
)
from oekd_tf.training.stress import stress_notes
from oekd_tf.training.summary import read_summary, write_summary
from oekd_tf.training.widths import find_widths, with_known_widths
from oekd_tf.training.workdir import locked, refuse_workdir_of_another, run_folder


def train(
    config: ConfigDict,
    workdir: str | Path,
    log: Callable[[str], None] = print,
    *,
    data: Any = None,
) -> Summary:
    """Trains, evaluates, reports and exports the run of a config.

    If the workdir holds a checkpoint of the same config, training resumes from it; a finished run
    is only reported, and exported if it was not yet. The test split is read once, after the last
    epoch. Students of `config.baselines` are trained alone after the ensemble.

    Args:
        config: Config, from `oekd_tf.config.default_config`.
        workdir: Folder of the run's config, metrics, logs, checkpoints and report. With
            `config.only_student` they are in a folder `baseline_student_<i>` below it.
        log: Called with each progress message.
        data: Data set in place of the config's: an `oekd_tf.data.npz.ArrayData`, under JAX.

    Returns:
        Content of the run's `summary.json`.

    Raises:
        ConfigError: The config breaks a rule or contradicts the workdir's.
        NonFiniteLossError: An image, a loss or a gradient was NaN; the last checkpoint stays.
        Preempted: SIGTERM or Ctrl-C was received; there is a checkpoint of the last step. A
            SystemExit with code 143 or 130.
        WorkerLostError: Another host died.

    Example:
        >>> config = oekd_tf.config.default_config()
        >>> summary = oekd_tf.training.train(config, "runs/first")
    """
    config_module.check(config)
    parent_workdir = Path(workdir)
    workdir = run_folder(parent_workdir, config.only_student, offline=bool(config.teacher_workdir))
    config = with_known_widths(config, [f / "config.json" for f in (workdir, parent_workdir)])
    refuse_workdir_of_another(config, workdir)
    exports = bool(config.export.formats) and not config.only_student and data is None
    if exports:
        refuse_existing_export(config, workdir)
    hosts = make_hosts(config)
    if not hosts.is_chief:
        log = _silent
    # The chief holds the lock of the workdir for all hosts.
    with locked(workdir) if hosts.is_chief else contextlib.nullcontext(), hosts.watching():
        summary, is_new = _finished_run(config, workdir, hosts, data, exports, log)
        if config.baselines and not config.only_student:
            # With the widths that budgets were given.
            known = with_known_widths(config, [workdir / "config.json"])
            for student in _baselines(known):
                _train_baseline(known, student, workdir, hosts, data, log)
        if not hosts.is_chief:
            return summary
        return _deliver(config, parent_workdir, workdir, summary, exports, is_new, log)


def _finished_run(
    config: ConfigDict,
    workdir: Path,
    hosts: Hosts,
    data: Any,
    exports: bool,
    log: Callable[[str], None],
) -> tuple[Summary, bool]:
    """The summary of a run, and whether the run was trained now."""
    summary_path = workdir / "summary.json"
    finished = summary_path.exists()
    hosts.assert_same(finished=finished)
    if finished:
        log(f"The run in {workdir} is already finished. Choose another --workdir to train again.")
        return read_summary(workdir), False
    set_runtime(config)
    begun = any(workdir.glob("checkpoints/epoch_*"))
    contract = read_contract(workdir) if begun else None
    if begun and contract is None:
        validate_as_before_contracts(config)
    if config.initial_weights and hosts.is_chief and contract is None:
        check_initial_weights(config, workdir)
    data = load_data(config, log=log) if data is None else data
    log(f"data: {data.splits_summary()}")
    notes = [*data.notes, *stress_notes(config)]
    for note in notes:
        log(f"data: {note}")
    if warning := mirror_warning(data.class_names, config.data.augmentation):
        log(warning)
    if not data.num_test:
        raise ConfigError(
            "config.data.test_split must be a split of the data set, to test on at the end; a "
            "folder without train and test is split by itself. "
            f"Received: {config.data.test_split!r}, and {data.name} has none"
        )
    if contract is not None:
        adopt(data, contract, workdir)
    else:
        parent = workdir.parent if config.only_student else workdir
        refuse_other_data(data, workdir, parent)
    hosts.assert_same(data=zlib.crc32(json.dumps(data.contract["splits"]).encode()))
    with as_config_error(["data.sampling"], "config.data.sampling must suit the data"):
        data.check_sampling(config.data.sampling)
    if config.early_stopping.monitor and not data.num_validation:
        raise ConfigError(
            "config.data.validation_fraction must hold out an image for "
            f"config.early_stopping.monitor. Received: {config.data.validation_fraction}"
        )
    config = find_widths(config, data, log)
    # A latency is each host's own.
    hosts.assert_same(widths=zlib.crc32(repr(config.ensemble.widths).encode()))
    stored = None
    if config.data.teacher_logits and not config.only_student:
        teacher_logits(config, data)
        # A feature's are in the fingerprint of the data.
        is_file = not config.data.teacher_logits.startswith(FEATURE)
        stored = sha256(Path(config.data.teacher_logits)) if is_file else None
        if contract is not None and contract.get("teacher_logits") != stored:
            raise ConfigError(
                "config.data.teacher_logits must be the file that the run began with; put it back, "
                "or train anew in another --workdir. "
                f"Received: {config.data.teacher_logits!r}, which has changed"
            )
    initial, facts = None, None
    if config.initial_weights and hosts.is_chief and contract is None:
        keep_initial_weights(config, workdir, data.image_shape)
        facts = initial_facts(config, workdir)
    with dropped_unless_begun(workdir, facts):
        if config.initial_weights:
            initial = read_initial_weights(config, workdir, data.image_shape, contract)
        if contract is None:
            take_pixels(config, data, initial)
        model = build_model(config, data, hosts, initial)
    if isinstance(model, OnlineEnsemble) and model.start is not None:
        log(model.start.describe())
    if hosts.is_chief:
        write_text(workdir / "config.json", config_module.to_json(config))
        if contract is None:
            write_contract(workdir, data, facts, stored)
            if isinstance(model, OnlineEnsemble):
                keep_files(workdir, model.method)
    with data.naming_damage():
        trained = fit(config, data, model, hosts, workdir, log)
        log("evaluating on the test split ...")
        size = hosts.evaluation_batch_size(data.num_test, config.batch_size)
        test = model.evaluate(
            hosts.batches(lambda share: data.test(size, share)), verbose=0, return_dict=True
        )
    test = {name: float(value) for name, value in test.items()}
    summary: Summary = {
        "name": config.name,
        "seed": config.seed,
        "epochs": trained.epochs,
        "steps": trained.epochs * data.steps_per_epoch(config.batch_size),
        "replicas": hosts.replicas,
        "train_seconds": round(trained.seconds, 1),
        "data": data.splits_summary(),
        "students": describe_students(config, model, test),
        "teacher_test_accuracy": test.get("teacher_accuracy"),
        "test_logs": test,
        "versions": machine.versions(),
    }
    if trained.best:
        summary["early_stopping"] = {
            "monitor": monitored(config),
            "best_value": trained.best.value,
            "best_epoch": trained.best.epoch,
            "stopped_epoch": trained.epochs,
            "planned_epochs": config.epochs,
            "restored_epoch": (
                trained.best.epoch if config.early_stopping.restore_best else trained.epochs
            ),
        }
    if config.note:
        summary["note"] = config.note
    if notes:
        summary["data_notes"] = notes
    if exports:
        summary["exports"] = str(export_folder(config))
    if isinstance(model, OnlineEnsemble):
        averaged = "" if model.method.moving_averages is None else "; averaged weights"
        summary["trained_by"] = describe_method(config) + averaged
        if model.start is not None:
            summary["start"] = model.start.describe()
        summary["teacher_title"] = model.method.teacher_title
    if hosts.is_chief:
        alone = model if hosts.replicas == 1 else restore_model(workdir, config, data, log)
        matrices = confusions(config, data, alone)
        summary["per_class"] = per_class(data, matrices)
        save_confusions(matrices, workdir)
        _save_model(model, workdir, log)
        # Last, because this file marks a finished run.
        write_summary(workdir, summary)
    return summary, True


def _baselines(config: ConfigDict) -> list[int]:
    """Numbers of the students that the run trains alone, too."""
    students = len(config.ensemble.widths)
    return sorted({students if number == -1 else number for number in config.baselines})


def _train_baseline(
    config: ConfigDict,
    student: int,
    parent_workdir: Path,
    hosts: Hosts,
    data: Any,
    log: Callable[[str], None],
) -> None:
    """Trains a student alone, as a run with `config.only_student` does."""
    own = ConfigDict(config).copy_and_resolve_references()
    own.only_student, own.baselines, own.note = student, (), ""
    workdir = run_folder(parent_workdir, student, offline=False)
    refuse_workdir_of_another(own, workdir)
    log = _silent if (workdir / "summary.json").exists() else log
    log(f"training student {student} alone, for its gain ...")
    with locked(workdir) if hosts.is_chief else contextlib.nullcontext():
        _finished_run(own, workdir, hosts, data, False, log)


def _save_model(model: keras.Model, workdir: Path, log: Callable[[str], None]) -> None:
    """Saves the trained model as a `.keras` file, for user code and as a teacher."""
    name = "ensemble.keras" if isinstance(model, OnlineEnsemble) else "student.keras"
    if name == "student.keras":
        # Without its losses, which Keras cannot always restore.
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    try:
        with temporary_path(workdir / name) as partial:
            model.save(partial)
    except (TypeError, ValueError, NotImplementedError) as error:
        # Keras cannot save some backbones of users; checkpoints do not need the file.
        reason = str(error).splitlines()[0]
        log(f"{name} was not written, the checkpoint in {workdir} has the weights: {reason}")


def _deliver(
    config: ConfigDict,
    parent_workdir: Path,
    workdir: Path,
    summary: Summary,
    exports: bool,
    is_new: bool,
    log: Callable[[str], None],
) -> Summary:
    """Exports and reports a finished run; returns its summary."""
    refused = None
    if exports and ((is_new and config.export.overwrite) or not export_folder(config).exists()):
        try:
            export_run(workdir, log=log)
        except ExportError as error:
            # Files that passed are delivered, and are in the report.
            refused = error
    if (parent_workdir / "summary.json").exists():
        log(report.write_report(parent_workdir))
    elif config.only_student:
        student = summary["students"][0]
        log(f"{student['name']} alone: test accuracy {student['test_accuracy']:.4f}")
    if refused:
        raise refused
    return summary


def _silent(line: str) -> None:
    """Discards messages of hosts other than the chief."""
