"""The rules of `export_students`' arguments."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

import oekd_tf
from oekd_tf.core import contract as rules
from oekd_tf.core.errors import ExportError, format_value, one_line
from oekd_tf.core.files import foreign_content
from oekd_tf.core.json_files import parse_json, validate
from oekd_tf.core.labels import class_indices
from oekd_tf.core.records import Contract, MadeBy, Name, Width
from oekd_tf.device import arena, manifest
from oekd_tf.export import formats as forms


def check_arguments(
    students: list[keras.Model],
    output: Path,
    formats: Sequence[str],
    test_images: np.ndarray,
    test_labels: np.ndarray,
    calibration_images: Any,
    calibration_batch_size: int,
    batch_size: int | None,
    fine_tuning: Any,
    class_names: Sequence[str] | None,
    limits: Mapping[str, Mapping[str, float]],
    overwrite: bool,
    widths: Sequence[float] | None,
    contract: Contract | None = None,
    max_class_drop: float = 1.0,
    micro_images: int = 0,
    validation_images: Any = None,
) -> None:
    """Checks the arguments of `export_students`, whose names they have.

    Args:
        students: Functional models.
        output: Folder to make.
        formats: Names of the formats.
        test_images: Raw pixels, (images, height, width, channels).
        test_labels: Class indices, (images,).
        calibration_images: Raw pixels, (images, height, width, channels), or None.
        calibration_batch_size: Number of images at a time in calibration.
        batch_size: Batch size of the files, or None.
        fine_tuning: What trains the students on, or None.
        class_names: One name a class, or None.
        limits: "max_accuracy_drop" and "min_agreement", each by name of the format.
        overwrite: Whether to replace what is there.
        widths: One width a student, or None.
        contract: What the network was trained on, or None.
        max_class_drop: Share from 0 to 1.
        micro_images: Number of images, at least 0.
        validation_images: Raw pixels, (images, height, width, channels), or None.

    Raises:
        ExportError: An argument breaks its rule; the first one that does is named.
    """
    if not students:
        raise ExportError("There must be at least one student to export. Received: none")
    check_formats((*formats, *(name for limit in limits.values() for name in limit)))
    check_micro(formats, micro_images)
    wanted = [forms.parse(name) for name in formats]
    if not wanted or len(set(formats)) < len(formats):
        raise ExportError(f"There must be formats to write, each once. Received: {list(formats)}")
    tuned = [form.name for form in wanted if form.stages]
    if tuned and fine_tuning is None:
        raise ExportError(f"{tuned[0]} needs fine_tuning. Received: None")
    names = [student.name for student in students]
    if len(set(names)) < len(names):
        raise ExportError(f"Students must have names that differ. Received: {names}")
    check_output(output, overwrite)
    for name in names:
        _check_value("A student's name", name, Name)
    for name in class_names or ():
        _check_value("A class name", name, str)
    for width in widths or ():
        _check_value("A width", width, Width)
    if widths is not None and len(widths) != len(students):
        raise ExportError(
            f"widths must be {len(students)} numbers, one a student. Received: {list(widths)}"
        )
    shape = tuple(students[0].input_shape[1:])
    _check_images(test_images, shape, "test_images")
    classes = students[0].output_shape[-1]
    if class_names is not None and len(class_names) != classes:
        raise ExportError(
            f"class_names must be {classes} names, one a class. Received: {len(class_names)}"
        )
    indices = class_indices(test_labels, classes, "test_labels", ExportError)
    if len(indices) != len(test_images):
        raise ExportError(
            f"test_labels must be one class index an image, ({len(test_images)},). "
            f"Received: shape {test_labels.shape}"
        )
    if contract is not None:
        _check_contract(contract, shape, classes, class_names)
    if not 0 <= max_class_drop <= 1:
        raise ExportError(f"max_class_drop must be from 0 to 1. Received: {max_class_drop}")
    if batch_size is not None and batch_size < 1:
        raise ExportError(f"batch_size must be at least 1, or None. Received: {batch_size}")
    if calibration_batch_size < 1 or (calibration_batch_size > 1 and batch_size is not None):
        raise ExportError(
            "calibration_batch_size must be at least 1, and 1 unless batch_size is None. "
            f"Received: {calibration_batch_size} with batch_size {batch_size}"
        )
    calibrated = [form.name for form in wanted if form.calibrated]
    if calibrated:
        if calibration_images is None:
            raise ExportError(
                f"{calibrated[0]} needs calibration_images from the training split. Received: None"
            )
        _check_images(np.asarray(calibration_images), shape, "calibration_images")
    if validation_images is not None:
        _check_images(np.asarray(validation_images), shape, "validation_images")


def check_provenance(provenance: Mapping[str, Any]) -> None:
    """Raises an ExportError if entries for the manifest cannot be read back from it."""
    try:
        parse_json(json.dumps(provenance), MadeBy)
    except (TypeError, ValueError) as error:
        raise ExportError(
            f"provenance must be what JSON can hold. Received: {one_line(error)}"
        ) from None


def _check_value(what: str, value: Any, kind: Any) -> None:
    try:
        validate(value, kind)
    except ValueError as error:
        rule = str(error).removeprefix("all of it must be ").partition(", and is ")[0]
        raise ExportError(f"{what} must be {rule}. Received: {format_value(value)}") from None


def check_output(output: Path, overwrite: bool) -> None:
    """Raises an ExportError if a folder must not be written to.

    Args:
        output: Folder to make.
        overwrite: Whether to replace what is there, which must be an export and nothing else.
    """
    if output.exists() and not overwrite:
        raise ExportError(
            f"The output must be a folder that is not there yet, or overwrite (--overwrite) True. "
            f"Received: {output}, which exists"
        )
    if output.exists() and (found := foreign_content(output, manifest.known_files)):
        raise ExportError(
            "Only a folder that is an export and holds nothing else, or is empty, can be replaced. "
            f"Received: {output}, {found}"
        )


def known_contract(
    ensemble: Any, student: keras.Model, class_names: Sequence[str] | None
) -> Contract:
    """The contract of a network of which nobody says what it was trained on.

    Args:
        ensemble: The ensemble, or None.
        student: One of the students.
        class_names: Names of the classes, or None.

    Returns:
        A contract in which None stands for what is not known.
    """
    config = ensemble.get_config() if ensemble is not None else {}
    return {
        "oekd_tf": oekd_tf.__version__,
        "data": None,
        "class_names": None if class_names is None else list(class_names),
        "image_shape": [int(size) for size in student.input_shape[1:]],
        "mean": _numbers(config.get("mean")),
        "std": _numbers(config.get("std")),
        "class_counts": None,
        "preparation": None,
        "splits": None,
    }


def check_statistics(contract: Contract, known: Contract) -> None:
    """Raises an ExportError if a contract's mean or std are not the network's own."""
    for name, told, own in (
        ("mean", contract.get("mean"), known["mean"]),
        ("std", contract.get("std"), known["std"]),
    ):
        if told is not None and own is not None and not np.allclose(told, own, rtol=1e-4):
            raise ExportError(
                f"contract must have the {name} that the network was made with, {own}. "
                f"Received: {told}"
            )


def _numbers(values: Any) -> list[float] | None:
    return None if values is None else [float(value) for value in np.ravel(values)]


def _check_contract(
    contract: Contract, shape: tuple[int, ...], classes: int, class_names: Sequence[str] | None
) -> None:
    try:
        validate(contract, Contract)
        rules.check_contract(contract)
    except ValueError as error:
        raise ExportError(
            f"contract must be that of a data set, data.contract. Received: {error}"
        ) from None
    names = contract["class_names"]
    if tuple(contract["image_shape"]) != shape or (names is not None and len(names) != classes):
        raise ExportError(
            f"contract must be of the network's inputs, {shape}, and its {classes} classes. "
            f"Received: {tuple(contract['image_shape'])} and {len(names or ())} classes"
        )
    if class_names is not None and names is not None and list(class_names) != list(names):
        raise ExportError(
            "class_names must be those of contract, or None. Received: others, such as "
            f"{next(a for a, b in zip(class_names, names, strict=True) if a != b)!r}"
        )


def check_formats(names: Sequence[str]) -> None:
    """Checks that there are formats of these names.

    Args:
        names: Names that a user wrote.

    Raises:
        ExportError: There is no such format.
    """
    for name in names:
        if not forms.is_format(name):
            raise ExportError(f"A format must be {forms.RULE}. Received: {name!r}")


def check_micro(formats: Sequence[str], micro_images: int) -> None:
    """Raises an ExportError if TensorFlow Lite Micro is needed and cannot be had.

    Args:
        formats: Names of the formats.
        micro_images: Number of images that it is to run.
    """
    if micro_images < 0:
        raise ExportError(f"micro_images must be at least 0. Received: {micro_images}")
    made_for = [name for name in formats if forms.parse(name).kind.for_microcontrollers]
    if (made_for or micro_images) and not arena.is_installed():
        what = made_for[0] if made_for else f"micro_images of {micro_images}"
        raise ExportError(f"{arena.MISSING}. Received: {what}")


def _check_images(images: np.ndarray, shape: tuple[int, ...], name: str) -> None:
    if images.ndim != 4 or images.shape[1:] != shape or not len(images):
        raise ExportError(
            f"{name} must be of shape (images, {', '.join(map(str, shape))}) and not empty. "
            f"Received: shape {images.shape}"
        )
    if images.dtype != np.uint8 and (images.min() < 0 or images.max() > 255 or images.max() <= 1):
        raise ExportError(
            f"{name} must be raw pixels from 0 to 255. "
            f"Received: {images.dtype} from {images.min()} to {images.max()}"
        )
