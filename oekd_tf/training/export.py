"""Export of the students of a finished run."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
from ml_collections import ConfigDict

from oekd_tf import config as config_module
from oekd_tf.core.errors import ConfigError, RefusedFilesError
from oekd_tf.core.files import alone, as_output
from oekd_tf.core.records import Manifest
from oekd_tf.core.tables import markdown_table
from oekd_tf.device.manifest import read_manifest
from oekd_tf.device.pareto import draw_trade_off, trade_off_rows
from oekd_tf.export.formats import DEFAULT_FORMATS, parse
from oekd_tf.models.online_ensemble import OnlineEnsemble
from oekd_tf.training.hosts import set_runtime
from oekd_tf.training.restore import (
    load_data_of_run,
    read_config,
    restore_model,
    training_batches,
)

if TYPE_CHECKING:
    from oekd_tf.export.compression import FineTuning

# Enough for a loss of a point to be told from none.
_VALIDATION_IMAGES = 1000


def export_folder(config: ConfigDict) -> Path:
    """Folder of the export of a config's run."""
    return as_output(config.export.output or f"savedmodels/{config.name}")


def export_run(
    workdir: str | Path,
    output: str | Path | None = None,
    formats: tuple[str, ...] | None = None,
    overwrite: bool | None = None,
    fields: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    log: Callable[[str], None] = print,
    students: Sequence[str] = (),
    rescue: bool = False,
) -> Manifest:
    """Exports the students of a finished run.

    Args:
        workdir: Folder of the run.
        output: Folder to export to; the config's if None.
        formats: Names of `oekd_tf.export.formats`; the config's if None.
        overwrite: Whether to replace an existing export; the config's if None.
        fields: Values for fields of the config's `export` and `fine_tuning`, by dotted path.
        data_dir: Where the run's data are now; where they were if None.
        log: Called with each progress message.
        students: Names of the students to export; all if empty.
        rescue: Whether to write "mixed" as well: int8, with the layers that lose most in float32.

    Returns:
        The manifest, which is also written to `output`.

    Raises:
        ConfigError: The workdir holds no ensemble, the data have changed since the run began, or a
            field breaks its rule.
        ExportError: A file failed its check against the Keras student; the others are delivered.
    """
    from oekd_tf.export.arguments import check_formats, check_micro, check_output

    config = read_config(workdir)
    config_module.set_fields(config, fields or {}, within=("export", "fine_tuning"))
    if config.only_student:
        raise ConfigError(
            "A workdir to export must hold an ensemble. Received: the baseline of student "
            f"{config.only_student} in {workdir}"
        )
    output = as_output(output) if output else export_folder(config)
    if overwrite is None:
        overwrite = config.export.overwrite
    check_output(output, overwrite)
    wanted = tuple(config.export.formats if formats is None else formats) or DEFAULT_FORMATS
    if rescue and "mixed" not in wanted:
        wanted += ("mixed",)
    check_formats(wanted)
    check_micro(wanted, config.export.micro_images)
    # Held from here on: another export to the same place ends before it restores anything.
    with alone(output):
        return _export(workdir, config, output, wanted, overwrite, data_dir, log, students)


def _export(
    workdir: str | Path,
    config: ConfigDict,
    output: Path,
    wanted: tuple[str, ...],
    overwrite: bool,
    data_dir: str | Path | None,
    log: Callable[[str], None],
    students: Sequence[str],
) -> Manifest:
    from oekd_tf.export import export_students

    set_runtime(config)
    data = load_data_of_run(workdir, config, data_dir)
    model = restore_model(workdir, config, data)
    models = model.exported_models()
    chosen = chosen_students(models, students)
    by_name = dict(zip(model.output_names, model.widths, strict=False))
    log(f"exporting to {output}")
    images, labels = data.test_arrays()
    calibration = min(config.export.calibration_images, data.num_train)
    exact = [name for name in wanted if parse(name).exact]
    validated = data.num_validation and any(parse(name).kind.validated for name in wanted)
    held_out = data.validation_arrays(_VALIDATION_IMAGES)[0] if validated else None
    tuned = any(parse(name).stages for name in wanted)
    drops = dict.fromkeys(wanted, config.export.max_accuracy_drop)
    drops |= dict.fromkeys(exact, config.export.max_accuracy_drop_float)
    processes = config.export.processes
    try:
        manifest = export_students(
            chosen,
            output,
            formats=wanted,
            calibration_images=data.train_images(calibration, config.export.calibration_seed),
            calibration_batch_size=config.export.calibration_batch_size,
            validation_images=held_out,
            batch_size=config.export.batch_size or None,
            fine_tuning=_fine_tuning(config, data, model) if tuned else None,
            test_images=images,
            test_labels=labels,
            contract=data.contract,
            max_accuracy_drop=drops,
            max_class_drop=config.export.max_class_drop,
            micro_images=config.export.micro_images,
            min_agreement=dict.fromkeys(exact, config.export.min_agreement_float),
            widths=[by_name.get(student.name, 1.0) for student in chosen],
            provenance={
                "config": config.to_dict(),
                "workdir": str(workdir),
                "command": " ".join(sys.argv),
            },
            overwrite=overwrite,
            processes=None if processes < 0 else processes,
            progress=log,
        )
    except RefusedFilesError:
        _show_files(output, log)
        raise
    _show_files(output, log)
    return manifest


def chosen_students(models: Sequence[keras.Model], names: Sequence[str]) -> list[keras.Model]:
    """The models of these names, in their own order; all if there are no names.

    Args:
        models: The students.
        names: Names, each once.

    Raises:
        ConfigError: There is no such student.
    """
    there = [model.name for model in models]
    unknown = [name for name in names if name not in there]
    if unknown or len(set(names)) < len(names):
        raise ConfigError(
            f"--students must be among {', '.join(there)}, each once. Received: {', '.join(names)}"
        )
    return [model for model in models if not names or model.name in names]


def _show_files(output: Path, log: Callable[[str], None]) -> None:
    manifest = read_manifest(output)
    draw_trade_off(manifest, output / "trade_off.png")
    log(f"\n{markdown_table(trade_off_rows(manifest))}\n")
    log(f"students: {output}\npicture: {output / 'trade_off.png'}")


def _fine_tuning(config: ConfigDict, data: Any, ensemble: OnlineEnsemble) -> "FineTuning":
    """Fine-tuning on the data of the run, with its loss weights; epochs follow the run's."""
    from oekd_tf.export.compression import FineTuning

    method = ensemble.method
    return FineTuning(
        ensemble,
        training_batches(config, data, first_epoch=config.epochs),
        data.steps_per_epoch(config.batch_size),
        epochs=config.fine_tuning.epochs,
        learning_rate=config.fine_tuning.learning_rate,
        temperature=method.temperature,
        label_weight=method.label_weight,
        distillation_weight=method.distillation_weight,
        sparsity=config.fine_tuning.sparsity,
        clusters=config.fine_tuning.clusters,
    )


def refuse_existing_export(config: ConfigDict, workdir: Path) -> None:
    """Raises before any training if the export's folder exists already."""
    output = export_folder(config)
    if not output.exists() or (workdir / "summary.json").exists():
        return
    if config.export.overwrite:
        from oekd_tf.export.arguments import check_output

        check_output(output, overwrite=True)
        return
    raise ConfigError(
        "config.export.output must be a folder that is not there yet: set "
        "--config.export.overwrite=True to replace it when training ends, or another "
        f"--config.name or --config.export.output. Received: {output}, which exists"
    )
