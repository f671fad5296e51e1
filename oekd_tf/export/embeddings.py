"""Students' features as files of their own: embeddings for retrieval and few-shot learning."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from oekd_tf.core.errors import ExportError, RefusedFilesError
from oekd_tf.core.files import alone, as_output, remove, replaced, write_errors
from oekd_tf.core.records import Contract, EmbeddingFacts, Embeddings, StudentEmbeddings
from oekd_tf.device import manifest
from oekd_tf.export import formats as forms
from oekd_tf.export.formats.parts.signature import write_converter_input
from oekd_tf.export.plain_student import plain_student
from oekd_tf.models.feature_extractor import feature_extractor
from oekd_tf.models.size import count_flops, count_parameters

FILE_NAME = "embeddings.json"
FORMATS = ("float32", "float16", "dynamic", "int8", "uint8", "int16x8")
# Of the mean cosine similarity with the Keras student's features.
_LEAST_COSINE = 0.95
_LEAST_COSINE_EXACT = 0.9999
# Nearest neighbours are looked for among so many images.
_NEIGHBOURS_AMONG = 2000


def export_embeddings(
    students: Any,
    output: str | Path,
    *,
    formats: Sequence[str] = ("float32", "int8"),
    test_images: np.ndarray,
    calibration_images: np.ndarray | None = None,
    batch_size: int | None = 1,
    contract: Contract | None = None,
    min_cosine: float | None = None,
    progress: Callable[[str], None] = print,
) -> Embeddings:
    """Writes the features of each student as TFLite files, and checks them on real images.

    `output` then holds a folder `student_<i>/` each, with a file a format, from raw images to
    features, and `embeddings.json` with size, SHA-256 and what each file keeps of the Keras
    student's features. It appears when all is written and checked. A file that fails its check is
    left out; a `RefusedFilesError` then says so.

    Args:
        students: An `OnlineEnsemble`, a student, or a list of them.
        output: Folder to make, which must not be there yet.
        formats: Among "float32", "float16", "dynamic", "int8", "uint8" and "int16x8".
        test_images: Raw pixels from 0 to 255, (images, height, width, channels), to run every file
            on.
        calibration_images: Training images that the ranges of int8, uint8 and int16x8 are measured
            on; some hundreds.
        batch_size: Batch size of the files; None for any at run time.
        contract: What the students were trained on, for `embeddings.json`.
        min_cosine: Least mean cosine similarity with the Keras student's features, from 0 to 1; by
            default 0.9999 in float, 0.95 in integers.
        progress: Called with a line for each file.

    Returns:
        What is in `embeddings.json`: for each file the mean and the least cosine similarity, and
        the share of test images whose nearest other test image is the same.

    Raises:
        ExportError: An argument breaks its rule, or no file passed its check.
        RefusedFilesError: A file failed its check; the others are delivered.
        OSError: The output cannot be written.

    Example:
        >>> oekd_tf.export.export_embeddings(
        ...     ensemble, "savedmodels/run1_embeddings", test_images=test_images,
        ...     calibration_images=train_images[:500])
    """
    if hasattr(students, "exported_models"):
        students = students.exported_models()
    students = [students] if isinstance(students, keras.Model) else list(students)
    output = as_output(output)
    images = np.asarray(test_images)
    wanted = _checked_formats(formats, calibration_images)
    if output.exists():
        raise ExportError(
            f"The output must be a folder that is not there yet. Received: {output}, which exists"
        )
    if min_cosine is not None and not 0 <= min_cosine <= 1:
        raise ExportError(f"min_cosine must be None, or from 0 to 1. Received: {min_cosine}")
    extractors = [_extractor(student) for student in students]
    for model in extractors:
        if not len(images) or images.shape[1:] != tuple(model.input_shape[1:]):
            raise ExportError(
                f"test_images must be images of shape {tuple(model.input_shape[1:])}, at least "
                f"one. Received: {images.shape}"
            )
    failures: list[str] = []
    entries: list[StudentEmbeddings] = []
    with alone(output), replaced(output) as folder, write_errors(folder):
        scratch = folder / ".scratch"
        for student, model in zip(students, extractors, strict=True):
            (folder / student.name).mkdir()
            expected = model.predict(images, batch_size=256, verbose=0)
            write_converter_input(model, scratch, batch_size)
            source = forms.Source(
                folder=scratch,
                student=student.name,
                calibration_images=calibration_images,
                calibration_batch_size=batch_size or 1,
            )
            files: dict[str, EmbeddingFacts] = {}
            for form in wanted:
                path = folder / student.name / form.file_name
                own = source if form.calibrated else source._replace(calibration_images=None)
                path.write_bytes(form.kind.convert(own))
                found, facts = form.kind.run(path, images)
                kept = _kept(found, expected)
                least = _LEAST_COSINE_EXACT if form.exact else _LEAST_COSINE
                least = least if min_cosine is None else min_cosine
                if not kept.cosine >= least:
                    failures.append(
                        f"{student.name} {form.name}: its features must have a mean cosine "
                        f"similarity of at least {least:g} with the Keras student's. "
                        f"Received: {kept.cosine:.4f}"
                    )
                    progress(f"{student.name} {form.name}: refused")
                    remove(path)
                    continue
                files[form.name] = {
                    **manifest.file_facts(path, folder),
                    "cosine": kept.cosine,
                    "least_cosine": kept.least_cosine,
                    "neighbours": kept.neighbours,
                    "input": facts["input"],
                    "output": facts["output"],
                }
                progress(
                    f"{student.name} {form.name}: {files[form.name]['bytes']:,} bytes, cosine "
                    f"{kept.cosine:.4f}, nearest neighbour {kept.neighbours:.1%}"
                )
            remove(scratch)
            entries.append(
                {
                    "name": student.name,
                    "dimensions": int(model.output_shape[-1]),
                    "parameters": count_parameters(model),
                    "flops": count_flops(model),
                    "formats": files,
                }
            )
        if not any(entry["formats"] for entry in entries):
            raise ExportError(failures[0])
        made_by: Any = manifest.provenance()
        result: Embeddings = {
            "made_by": made_by,
            "contract": contract,
            "checked_on_images": len(images),
            "students": entries,
            "failures": failures,
        }
        (folder / FILE_NAME).write_text(json.dumps(result, indent=2) + "\n")
    if failures:
        total = len(students) * len(wanted)
        raise RefusedFilesError(
            f"{len(failures)} of {total} files are not in {output}, the others are: "
            + "; ".join(failures)
        )
    return result


def _checked_formats(
    formats: Sequence[str], calibration_images: np.ndarray | None
) -> list[forms.Format]:
    if not formats or not set(formats) <= set(FORMATS) or len(set(formats)) < len(formats):
        raise ExportError(
            f"formats must be among {', '.join(FORMATS)}, each once. Received: {list(formats)}"
        )
    wanted = [forms.parse(name) for name in formats]
    measured = [form.name for form in wanted if form.calibrated]
    if measured and (calibration_images is None or not len(calibration_images)):
        raise ExportError(
            f"calibration_images must be training images for {', '.join(measured)}. Received: none"
        )
    return wanted


def _extractor(student: Any) -> keras.Model:
    try:
        return plain_student(feature_extractor(student))
    except ValueError as error:
        raise ExportError(str(error)) from None


class _Kept(NamedTuple):
    cosine: float
    least_cosine: float
    neighbours: float


def _kept(found: np.ndarray, expected: np.ndarray) -> _Kept:
    """What a file keeps of the features, (images, channels), of the Keras student."""
    one, two = _directions(found), _directions(expected)
    cosine = (one * two).sum(axis=1)
    neighbours = float((_nearest(one) == _nearest(two)).mean())
    return _Kept(float(cosine.mean()), float(cosine.min()), neighbours)


def _directions(features: np.ndarray) -> np.ndarray:
    features = np.nan_to_num(features.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _nearest(directions: np.ndarray) -> np.ndarray:
    among = directions[:_NEIGHBOURS_AMONG]
    similarity = among @ among.T
    np.fill_diagonal(similarity, -np.inf)
    return similarity.argmax(axis=1)
