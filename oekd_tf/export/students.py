"""Exports every student of an ensemble, whole or not at all."""

import contextlib
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from oekd_tf.config import FORMATS
from oekd_tf.export import check, manifest, saved_model, tflite
from oekd_tf.export.errors import ExportError
from oekd_tf.model_size import count_flops, count_parameters

# int8 rounds; what a float file loses is a bug.
MIN_AGREEMENT = {"saved_model": 0.99, "float32": 0.99, "int8": 0.9}


def export_students(
    students: Any,
    output: str | Path,
    *,
    formats: Sequence[str] = FORMATS,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    calibration_images: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    min_agreement: Mapping[str, float] | None = None,
    widths: Sequence[float] | None = None,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Writes each student alone, in several formats, and checks every file on real images.

    `output` then holds `student_<i>/saved_model/`, `student_<i>/float32.tflite`,
    `student_<i>/int8.tflite`, `student_<i>/labels.txt`, and one `manifest.json`. It appears when
    all of it is written and checked; until then, and if anything fails, what was there stays.

    Args:
        students: An `OnlineEnsemble`, or a list of functional models from raw images to logits.
        output: The folder to make.
        formats: Among "saved_model", "float32" and "int8".
        test_images: Raw pixels, (images, height, width, channels), to run every file on.
        test_labels: Class indices, (images,).
        calibration_images: Raw training images that int8 ranges are measured on; some hundreds.
        class_names: Written to `labels.txt`, one a line; numbers if None.
        min_agreement: For each format, the least share of test images on which a file must have
            the Keras student's top class; `MIN_AGREEMENT` where it says nothing.
        widths: Of the students, for the manifest; an ensemble's own if None.
        provenance: Added to the manifest's `made_by`.
        overwrite: Replace `output` if it is there.
        progress: Receives one line a student and format.

    Returns:
        The manifest; `oekd_tf.export.manifest` says what is in it.

    Raises:
        ExportError: An argument breaks its rule, a student cannot be converted, or a file does
            not do what the Keras student does.

    Example:
        >>> oekd_tf.export.export_students(
        ...     ensemble, "savedmodels/run1", calibration_images=train_images[:500],
        ...     test_images=test_images, test_labels=test_labels)
    """
    if widths is None:
        widths = getattr(students, "widths", None)
    students = list(getattr(students, "students", students))
    output = Path(output)
    test_images, test_labels = np.asarray(test_images), np.asarray(test_labels)
    _check_arguments(
        students, output, formats, test_images, test_labels, calibration_images, class_names,
        min_agreement, overwrite,
    )  # fmt: skip
    thresholds = {**MIN_AGREEMENT, **(min_agreement or {})}
    num_classes = students[0].output_shape[-1]
    names = list(class_names) if class_names else [str(index) for index in range(num_classes)]
    entries = []
    with _replaced(output, overwrite) as folder:
        for index, student in enumerate(students):
            reference = student.predict(test_images, batch_size=256, verbose=0)
            writer = _Writer(student, calibration_images)
            (folder / student.name).mkdir()
            (folder / student.name / "labels.txt").write_text("".join(f"{n}\n" for n in names))
            entry = {
                "name": student.name,
                "width": float(widths[index]) if widths is not None else None,
                "parameters": count_parameters(student),
                "flops": count_flops(student),
                "input_shape": list(student.input_shape[1:]),
                "accuracy": float((reference.argmax(-1) == test_labels).mean()),
                "formats": {},
            }
            for file_format in formats:
                path, logits, facts = writer(file_format, folder / student.name, test_images)
                facts = {
                    **manifest.file_facts(path, folder),
                    **check.compare(logits, reference, test_labels),
                    **facts,
                }
                _check_agreement(facts, thresholds[file_format], f"{student.name} {file_format}")
                entry["formats"][file_format] = facts
                progress(
                    f"{student.name} {file_format}: {facts['bytes']:,} bytes, accuracy "
                    f"{facts['accuracy']:.4f}, agreement {facts['agreement']:.4f}"
                )
            entries.append(entry)
        result = {
            "made_by": {**manifest.provenance(), **(provenance or {})},
            "class_names": names,
            "checked_on_images": len(test_images),
            "calibration_images": len(calibration_images) if "int8" in formats else 0,
            "students": entries,
        }
        (folder / manifest.FILE_NAME).write_text(json.dumps(result, indent=2) + "\n")
    return result


class _Writer:
    """Writes one student in each format and runs what it wrote."""

    def __init__(self, student: keras.Model, calibration_images: Any):
        self._student = saved_model.plain_student(student)
        self._calibration_images = calibration_images

    def __call__(
        self, file_format: str, folder: Path, images: np.ndarray
    ) -> tuple[Path, np.ndarray, dict]:
        if file_format == "saved_model":
            path = folder / "saved_model"
            saved_model.write_saved_model(self._student, path)
            return path, saved_model.run_saved_model(path, images.astype(np.uint8)), {}
        source, name = self._converter_input, self._student.name
        if file_format == "float32":
            content = tflite.convert_float32(source.name, name)
        else:
            content = tflite.convert_int8(source.name, name, np.asarray(self._calibration_images))
        return _write_tflite(content, folder / f"{file_format}.tflite", images)

    @functools.cached_property
    def _converter_input(self) -> tempfile.TemporaryDirectory:
        folder = tempfile.TemporaryDirectory()
        saved_model.write_converter_input(self._student, folder.name)
        return folder


def _write_tflite(content: bytes, path: Path, images: np.ndarray) -> tuple[Path, np.ndarray, dict]:
    path.write_bytes(content)
    # What is checked is what is on the disk.
    content = path.read_bytes()
    dtype = path.stem
    found = check.contents(content)
    check.check_contents(found, dtype, f"{path.parent.name}/{path.name}")
    model = check.TfliteModel(content)
    facts = {
        "input": manifest.tensor_facts(model.input),
        "output": manifest.tensor_facts(model.output),
        "operations": found.operations,
        "tensor_types": found.tensor_types,
    }
    for side in ("input", "output"):
        if facts[side]["dtype"] != dtype:
            raise ExportError(
                f"The {side} of {path.parent.name}/{path.name} must be {dtype}. "
                f"Received: {facts[side]['dtype']}"
            )
    return path, model.logits(images), facts


def _check_agreement(facts: dict, threshold: float, name: str) -> None:
    if not facts["agreement"] >= threshold:
        raise ExportError(
            f"{name} must have the Keras student's top class on at least {threshold:.1%} of the "
            "test images; for int8, give more and more typical calibration images from the "
            f"training split. Received: {facts['agreement']:.1%}"
        )


@contextlib.contextmanager
def _replaced(output: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary sibling that becomes `output` when the block succeeds."""
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".partial-{os.getpid()}-{output.name}")
    old = output.with_name(f".old-{os.getpid()}-{output.name}")
    partial.mkdir()
    try:
        yield partial
        if overwrite and output.exists():
            output.rename(old)
        try:
            partial.rename(output)
        except OSError:
            if old.exists():
                old.rename(output)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_arguments(
    students: list[keras.Model],
    output: Path,
    formats: Sequence[str],
    test_images: np.ndarray,
    test_labels: np.ndarray,
    calibration_images: Any,
    class_names: Sequence[str] | None,
    min_agreement: Mapping[str, float] | None,
    overwrite: bool,
) -> None:
    if not students:
        raise ExportError("There must be at least one student to export. Received: none")
    unknown = [name for name in (*formats, *(min_agreement or {})) if name not in FORMATS]
    if unknown or not formats:
        raise ExportError(
            f"Formats must be among {', '.join(FORMATS)}. Received: {unknown or 'none'}"
        )
    if output.exists() and not overwrite:
        raise ExportError(
            f"The output must be a folder that is not there yet, or overwrite True. "
            f"Received: {output}, which exists"
        )
    shape = tuple(students[0].input_shape[1:])
    _check_images(test_images, shape, "test_images")
    if test_labels.shape != (len(test_images),):
        raise ExportError(
            f"test_labels must be one class index an image, ({len(test_images)},). "
            f"Received: shape {test_labels.shape}"
        )
    classes = students[0].output_shape[-1]
    if class_names is not None and len(class_names) != classes:
        raise ExportError(
            f"class_names must be {classes} names, one a class. Received: {len(class_names)}"
        )
    if "int8" in formats:
        if calibration_images is None:
            raise ExportError(
                "int8 needs calibration_images from the training split. Received: None"
            )
        _check_images(np.asarray(calibration_images), shape, "calibration_images")


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
