"""Export of the features of a finished run's students."""

from collections.abc import Callable, Sequence
from pathlib import Path

from oekd_tf.core.errors import ConfigError
from oekd_tf.core.records import Embeddings
from oekd_tf.export.embeddings import export_embeddings
from oekd_tf.training.export import chosen_students, export_folder
from oekd_tf.training.hosts import set_runtime
from oekd_tf.training.restore import load_data_of_run, read_config, restore_model


def export_embeddings_of_run(
    workdir: str | Path,
    output: str | Path | None = None,
    formats: Sequence[str] = ("float32", "int8"),
    students: Sequence[str] = (),
    data_dir: str | Path | None = None,
    log: Callable[[str], None] = print,
) -> Embeddings:
    """Writes the features of each student of a run as files, as `export_embeddings` does.

    Args:
        workdir: Folder of a finished run of an ensemble.
        output: Folder to make; `<export folder>_embeddings` if None.
        formats: Formats, as of `export_embeddings`.
        students: Names of the students; all if empty.
        data_dir: Where the run's data are now; where they were if None.
        log: Called with each progress message.

    Returns:
        What is in `embeddings.json`.

    Raises:
        ConfigError: The workdir holds no ensemble, or the data have changed since.
        ExportError: An argument breaks its rule, or a file failed its check.
    """
    config = read_config(workdir)
    if config.only_student:
        raise ConfigError(
            "A workdir to export must hold an ensemble. Received: the baseline of student "
            f"{config.only_student} in {workdir}"
        )
    folder = export_folder(config)
    output = folder.with_name(f"{folder.name}_embeddings") if output is None else output
    set_runtime(config)
    data = load_data_of_run(workdir, config, data_dir)
    model = restore_model(workdir, config, data)
    log(f"exporting to {output}")
    calibration = min(config.export.calibration_images, data.num_train)
    return export_embeddings(
        chosen_students(model.exported_models(), students),
        output,
        formats=formats,
        test_images=data.test_arrays()[0],
        calibration_images=data.train_images(calibration, config.export.calibration_seed),
        batch_size=config.export.batch_size or None,
        contract=data.contract,
        progress=log,
    )
