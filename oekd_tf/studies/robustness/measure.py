"""Measures how robust the students of a run are."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oekd_tf.core.errors import ConfigError, one_line
from oekd_tf.core.files import alone, write_text
from oekd_tf.core.json_files import read_json
from oekd_tf.core.records import Robustness
from oekd_tf.device.manifest import provenance
from oekd_tf.studies.robustness import properties as known
from oekd_tf.studies.robustness.ledger import Ledger
from oekd_tf.studies.robustness.material import Material, Settings
from oekd_tf.studies.robustness.report import write_report
from oekd_tf.studies.robustness.subjects import (
    ALONE,
    TOGETHER,
    Subject,
    int8_subject,
    keras_subjects,
)
from oekd_tf.training.workdir import require_run

FOLDER = "robustness"
FILE_NAME = "robustness.json"
_LEDGER = "measured.jsonl"
# Enough for a temperature, and for scores of other images.
_VALIDATION_IMAGES = 2000
# Of ITU-R BT.601, as pictures become grey elsewhere.
_LUMINANCE = np.array([0.299, 0.587, 0.114])


def measure_robustness(
    workdir: str | Path,
    settings: Settings | None = None,
    *,
    properties: Sequence[str] = (),
    int8: bool = True,
    data_dir: str | Path | None = None,
    other_data_dir: str | Path | None = None,
    log: Callable[[str], None] = print,
) -> Robustness:
    """Measures how robust the students of a run are, together and alone, in Keras and in int8.

    Writes `robustness/` in the run's folder: `robustness.json`, `report.md` and `robustness.png`.
    Baselines that the run has trained (`config.baselines`, or `oekd compare`) are measured, too.
    Started again, it goes on where it was stopped.

    Args:
        workdir: Folder of a finished run of an ensemble, such as `seed_0` of a study.
        settings: What is measured; `Settings()` if None.
        properties: Names of `oekd_tf.robustness.properties.names()`; all if empty.
        int8: Whether each student is converted to an int8 file, which is measured, too.
        data_dir: Where the run's data are now; where they were if None.
        other_data_dir: Where `settings.other` is; TFDS's own folder if None.
        log: Called with each progress message.

    Returns:
        What is in `robustness.json`.

    Raises:
        ConfigError: A setting breaks its rule, the workdir holds no ensemble, or the data have
            changed.

    Example:
        >>> found = oekd_tf.robustness.measure_robustness("runs/demo")
        >>> found["networks"][0]["scores"]["corruption"]["fog 3"]
    """
    settings = settings or Settings()
    wanted = check_settings(settings, properties)
    folder = Path(workdir) / FOLDER
    require_run(workdir)
    settings = settings._replace(severities=tuple(map(int, settings.severities)))
    with alone(folder):
        folder.mkdir(exist_ok=True)
        material, contract = _material(
            Path(workdir), settings, int8, data_dir, other_data_dir, wanted, log
        )
        steps = [(name, step) for name in wanted for step in known.steps(name, material)]
        ledger = Ledger(folder / _LEDGER, _digest(material, int8))
        waiting = [pair for pair in steps if (pair[0], pair[1].name) not in ledger.done]
        if ledger.replaces:
            log("measuring anew: settings, networks or images are others than before")
        if len(waiting) < len(steps):
            log(f"{len(steps) - len(waiting)} of {len(steps)} measurements: done before")
        began = time.monotonic()
        for number, (name, step) in enumerate(waiting, start=1 + len(steps) - len(waiting)):
            ledger.add(name, step.name, step.measure())
            log(f"{number}/{len(steps)} {name}: {step.name}, {time.monotonic() - began:.0f} s")
        made_by: Any = provenance()
        result: Robustness = {
            "made_by": made_by,
            "contract": contract,
            "settings": settings._asdict(),
            "images": len(material.images),
            "properties": list(wanted),
            "networks": [
                {
                    "student": subject.student,
                    "trained": subject.trained,
                    "form": subject.form,
                    "width": subject.width,
                    "parameters": subject.parameters,
                    "scores": _scores(subject, steps, ledger),
                }
                for subject in material.subjects
            ],
        }
        write_text(folder / FILE_NAME, json.dumps(result, indent=1) + "\n")
        found = read_robustness(folder)
        log(write_report(folder, found))
    return found


def read_robustness(folder: str | Path) -> Robustness:
    """Reads `robustness.json`.

    Args:
        folder: The folder that holds it.

    Raises:
        ConfigError: There is no such file, or a field is not what it must be.
    """
    path = Path(folder) / FILE_NAME
    try:
        return read_json(path, Robustness, "a run's robustness", ConfigError)
    except FileNotFoundError:
        raise ConfigError(f"A folder must hold {FILE_NAME}. Received: {folder}") from None


def check_settings(settings: Settings, properties: Sequence[str] = ()) -> list[str]:
    """Checks what is to be measured.

    Args:
        settings: The settings.
        properties: Names of properties; all if empty.

    Returns:
        Names of the properties, in the order of reports.

    Raises:
        ConfigError: A rule is broken.
    """
    s = settings
    for rule, valid, value in (
        ("images must be at least 0", s.images >= 0, s.images),
        ("attack_images must be at least 1", s.attack_images >= 1, s.attack_images),
        (
            "severities must be of 1 to 5, each once",
            _distinct(s.severities) and set(s.severities) <= {1, 2, 3, 4, 5},
            s.severities,
        ),
        (
            "epsilons must be from 1 to 255, each once",
            _distinct(s.epsilons) and all(1 <= epsilon <= 255 for epsilon in s.epsilons),
            s.epsilons,
        ),
        (
            "sparsities must be above 0 and below 1, each once",
            _distinct(s.sparsities) and all(0 < share < 1 for share in s.sparsities),
            s.sparsities,
        ),
        ("seed must be at least 0", s.seed >= 0, s.seed),
    ):
        if not valid:
            raise ConfigError(f"{rule}. Received: {value}")
    names = known.names()
    if not set(properties) <= set(names) or len(set(properties)) < len(properties):
        raise ConfigError(
            f"properties must be among {', '.join(names)}, each once. Received: {list(properties)}"
        )
    return [name for name in names if name in (properties or names)]


def _distinct(values: Sequence[float]) -> bool:
    return bool(values) and len(set(values)) == len(values)


def _material(
    workdir: Path,
    settings: Settings,
    int8: bool,
    data_dir: str | Path | None,
    other_data_dir: str | Path | None,
    wanted: Sequence[str],
    log: Callable[[str], None],
) -> tuple[Material, Any]:
    from oekd_tf.training.restore import read_config, restore_model, restore_run

    config = read_config(workdir)
    if config.only_student:
        raise ConfigError(
            "A workdir must hold an ensemble, such as the folder above a baseline's. Received: the "
            f"baseline of student {config.only_student} in {workdir}"
        )
    config, data, model = restore_run(workdir, data_dir)
    others = {}
    if settings.other and "detection" in wanted:
        others[settings.other] = _other(settings, data, other_data_dir)
    widths = dict(zip(model.output_names, model.widths, strict=False))
    subjects = keras_subjects(model, TOGETHER, widths)
    for baseline in sorted(workdir.glob("baseline_student_*/summary.json")):
        subjects += keras_subjects(restore_model(baseline.parent, data=data), ALONE, widths)
    found: list[Subject] = []
    calibration = None
    for subject in subjects:
        found.append(subject)
        if int8:
            if calibration is None:
                count = min(config.export.calibration_images, data.num_train)
                calibration = data.train_images(count, config.export.calibration_seed)
            name = f"{subject.student}_{subject.trained}_{_digest_of(subject)[:12]}.tflite"
            log(f"int8 file of {subject.student} {subject.trained}")
            found.append(int8_subject(subject, calibration, workdir / FOLDER / "int8" / name))
    images, labels = data.test_arrays(settings.images or None)
    validation = data.validation_arrays(_VALIDATION_IMAGES) if data.num_validation else None
    folder = workdir / FOLDER
    return Material(found, images, labels, validation, others, settings, folder), data.contract


def _other(settings: Settings, data: Any, data_dir: str | Path | None) -> np.ndarray:
    """Test images of another data set, of the size and the channels of the run's."""
    from oekd_tf.data import load

    height, width, channels = data.image_shape
    folder = None if data_dir is None else str(data_dir)
    try:
        other = load(settings.other, data_dir=folder, image_size=(height, width))
        images = other.test_arrays(settings.images or None)[0]
    except (ValueError, OSError) as error:
        raise ConfigError(
            "--other must be a data set with a test split, or image_folder with --other_data_dir. "
            f"Received: {settings.other!r}, of which is said: {one_line(error)}"
        ) from error
    if images.shape[3] == channels:
        return images
    if images.shape[3] == 1:
        return np.repeat(images, channels, axis=3)
    return np.rint(images @ _LUMINANCE)[..., None].astype(np.uint8)


def _scores(
    subject: Subject, steps: Sequence[tuple[str, Any]], ledger: Ledger
) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for name, step in steps:
        own = ledger.done[name, step.name].get(subject.key)
        if own:
            found.setdefault(name, {}).update(own)
    return found


def _digest_of(subject: Subject) -> str:
    digest = hashlib.sha256()
    for weights in subject.model.get_weights():
        digest.update(np.ascontiguousarray(weights).tobytes())
    return digest.hexdigest()


def _digest(material: Material, int8: bool) -> str:
    """Of networks, images and settings: what must be the same to go on."""
    digest = hashlib.sha256(json.dumps([material.settings, int8]).encode())
    for subject in material.subjects:
        digest.update(f"{subject.key} {_digest_of(subject)}".encode())
    for array in (material.images, material.labels, *material.others.values()):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
