"""Exports every student of an ensemble; what passes its check is delivered atomically."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oekd_tf.core.errors import ExportError, RefusedFilesError
from oekd_tf.core.files import alone, as_output, remove, replaced, write_errors
from oekd_tf.core.labels import class_indices
from oekd_tf.core.records import Contract, Manifest, StudentFiles
from oekd_tf.device import manifest
from oekd_tf.device.golden import FOLDER
from oekd_tf.export import formats as forms
from oekd_tf.export.arguments import (
    check_arguments,
    check_provenance,
    check_statistics,
    known_contract,
)
from oekd_tf.export.check import class_recall
from oekd_tf.export.golden import make_pictures, write_golden
from oekd_tf.export.plain_student import plain_student
from oekd_tf.export.pool import Workers, sensible_processes
from oekd_tf.export.session import Conversions
from oekd_tf.models.size import count_flops, count_parameters


def export_students(
    students: Any,
    output: str | Path,
    *,
    formats: Sequence[str] = forms.DEFAULT_FORMATS,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    calibration_images: np.ndarray | None = None,
    calibration_batch_size: int = 1,
    validation_images: np.ndarray | None = None,
    batch_size: int | None = 1,
    fine_tuning: Any = None,
    class_names: Sequence[str] | None = None,
    contract: Contract | None = None,
    max_accuracy_drop: Mapping[str, float] | float | None = None,
    min_agreement: Mapping[str, float] | float | None = None,
    max_class_drop: float = 1.0,
    micro_images: int = 0,
    widths: Sequence[float] | None = None,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    processes: int | None = None,
    progress: Callable[[str], None] = print,
) -> Manifest:
    """Writes each student alone, in several formats, and checks every file on real images.

    `output` then holds a folder `student_<i>/` each, with a file or folder a format and
    `labels.txt`, golden vectors in `selftest/` (`oekd_tf.device.selftest`), and one
    `manifest.json`. It appears when all of it is written and checked; until
    then what was there stays. A file that fails its check is not delivered; the others are, and
    a `RefusedFilesError` then says which failed.

    Args:
        students: An `OnlineEnsemble`, or a functional model from raw images to logits, or a list
            of such models.
        output: Folder to make.
        formats: Names of `oekd_tf.export.formats`: "saved_model", "float32", "float16",
            "dynamic", "int8", "uint8", "int16x8", "mixed", "mcu", "weight_only_int4", "onnx"; with
            `fine_tuning` also "qat_int8", "pruned_int8", "clustered_int8", "pruned_qat_int8" and
            so on.
        test_images: Raw pixels from 0 to 255, (images, height, width, channels), to run every
            file on.
        test_labels: Class indices of the test images, (images,).
        calibration_images: Training images, of the test images' form, that ranges of int8 and
            int16 activations are measured on; some hundreds.
        calibration_batch_size: Number of images at a time in calibration with `batch_size=None`;
            otherwise there are as many as the files take. The ranges are the same; it takes less
            time.
        validation_images: Images held out of training, of the same form, that "mixed" chooses
            layers on; the calibration images if None, which a student that knows them by heart
            loses less of.
        batch_size: Batch size of the TFLite and ONNX files; None for any at run time.
        fine_tuning: An `oekd_tf.compression.FineTuning`, for the formats that need one.
        class_names: One name a class, written to `labels.txt`, one a line; the contract's, or
            numbers, if None.
        contract: What the network was trained on, `Data.contract`: it tells devices how a picture
            becomes an input, and is written to the manifest. If None, the manifest says what the
            network knows, and that the rest is not known.
        max_accuracy_drop: For each format, or one number for all, the largest difference by which a
            file's test accuracy may be below the Keras student's, from 0 to 1; by default 0.005
            for float formats, 0.02 for the others.
        min_agreement: For each format, or one number for all, the least share of test images on
            which a file must have the Keras student's top class; by default 0.99 for float
            formats, 0 for the others.
        max_class_drop: The largest difference by which a file's recall of a class with at least 10
            test images may be below the Keras student's, from 0 to 1; 1 allows any.
        micro_images: Number of test images, spread over all, that TensorFlow Lite Micro also runs
            with each TFLite file: the manifest then says how much memory it needs on a
            microcontroller, or why it does not run there. 0 runs none, and one for "mcu".
        widths: Widths of the students, for the manifest; an ensemble's own if None.
        provenance: Further entries of the manifest's `made_by`.
        overwrite: Whether to replace `output` if it is there.
        processes: Number of processes that convert; 0 for this process alone, None for as many as
            pay.
        progress: Called with a message for each student and format.

    Returns:
        The manifest; `oekd_tf.device.manifest` says what is in it.

    Raises:
        ExportError: An argument breaks its rule, or no file passed its check; nothing is written.
        RefusedFilesError: A student could not be converted to a format, or a file does not do what
            the Keras student does; the other files are delivered.
        OSError: The output cannot be written; what was there stays.

    Example:
        >>> oekd_tf.export.export_students(
        ...     ensemble, "savedmodels/run1", calibration_images=train_images[:500],
        ...     test_images=test_images, test_labels=test_labels)
    """
    if hasattr(students, "exported_models"):
        ensemble, students = students, students.exported_models()
        if widths is None:
            by_name = dict(zip(ensemble.output_names, ensemble.widths, strict=False))
            widths = [by_name.get(student.name, 1.0) for student in students]
    else:
        ensemble = None
    # A model may be iterable, but not of models.
    students = [students] if hasattr(students, "output_shape") else list(students)
    output = as_output(output)
    test_images, test_labels = np.asarray(test_images), np.asarray(test_labels)
    given = {"max_accuracy_drop": max_accuracy_drop, "min_agreement": min_agreement}
    limits = {
        name: dict.fromkeys(formats, value) if isinstance(value, int | float) else value or {}
        for name, value in given.items()
    }
    check_arguments(
        students, output, formats, test_images, test_labels, calibration_images,
        calibration_batch_size, batch_size, fine_tuning, class_names, limits, overwrite, widths,
        contract, max_class_drop, micro_images, validation_images,
    )  # fmt: skip
    check_provenance(provenance or {})
    test_labels = class_indices(test_labels)
    known = known_contract(ensemble, students[0], class_names)
    if contract is not None:
        check_statistics(contract, known)
    contract = contract or known
    wanted = [forms.parse(name) for name in formats]
    num_classes = students[0].output_shape[-1]
    names = list(class_names or contract["class_names"] or map(str, range(num_classes)))
    named: Contract = {**contract, "class_names": names}
    pictures = make_pictures(test_images, test_labels, named)
    if processes is None:
        processes = sensible_processes(len(students) * len(wanted), students[0])
    with (
        alone(output),
        replaced(output, overwrite, manifest.known_files) as folder,
        Workers(processes) as workers,
    ):
        scratch = folder / ".scratch"
        with write_errors(folder):
            scratch.mkdir()
        conversions = Conversions(
            folder, scratch, workers, batch_size, calibration_batch_size, limits, progress,
            max_class_drop, micro_images, len(pictures),
        )  # fmt: skip
        conversions.save_contract(named)
        golden = np.stack([picture.input for picture in pictures])
        conversions.save_images("images", golden, test_images)
        conversions.save_images("labels", test_labels)
        num_calibration = 0
        if any(form.calibrated for form in wanted):
            calibration = np.asarray(calibration_images)
            num_calibration = len(calibration)
            conversions.save_images("calibration", calibration)
        if validation_images is not None and any(form.kind.validated for form in wanted):
            conversions.save_images("validation", np.asarray(validation_images))
        references = {}
        for student in students:
            references[student.name] = student.predict(test_images, batch_size=256, verbose=0)
            if not np.isfinite(references[student.name]).all():
                raise ExportError(
                    f"{student.name} must give finite logits. Received: NaN or infinity on the "
                    "test images"
                )
            conversions.add_student(student.name, names, references[student.name], test_labels)
            conversions.submit(plain_student(student), student.name, wanted, (), {})
        for stages in dict.fromkeys(form.stages for form in wanted if form.stages):
            try:
                tuned = fine_tuning.tune(students, stages, progress)
            except Exception as error:  # What passed so far must not be lost by it.
                why = (str(error).strip() or type(error).__name__).splitlines()[0]
                conversions.refuse([s.name for s in students], wanted, stages, why)
                continue
            for student, (twin, facts) in zip(students, tuned, strict=True):
                conversions.submit(twin, student.name, wanted, stages, facts)
        conversions.finish()
        remove(scratch)
        entries: list[StudentFiles] = [
            {
                "name": student.name,
                "width": float(widths[index]) if widths is not None else None,
                "parameters": count_parameters(student),
                "flops": count_flops(student),
                "input_shape": list(student.input_shape[1:]),
                "accuracy": float((references[student.name].argmax(-1) == test_labels).mean()),
                "class_recall": class_recall(references[student.name], test_labels),
                "formats": {
                    name: conversions.facts[student.name, name]
                    for name in formats
                    if (student.name, name) in conversions.facts
                },
            }
            for index, student in enumerate(students)
        ]
        if not any(entry["formats"] for entry in entries):
            raise ExportError(conversions.failures[0])
        with write_errors(folder):
            write_golden(folder, pictures, named, conversions.facts, conversions.golden)
        made_by: Any = {**manifest.provenance(), **(provenance or {})}
        result: Manifest = {
            "made_by": made_by,
            "contract": contract,
            "class_names": names,
            "checked_on_images": len(test_images),
            "checked_on_images_of_class": np.bincount(test_labels, minlength=num_classes).tolist(),
            "calibration_images": num_calibration,
            "selftest": manifest.file_facts(folder / FOLDER, folder),
            "students": entries,
            "failures": conversions.failures,
        }
        with write_errors(folder):
            (folder / manifest.FILE_NAME).write_text(json.dumps(result, indent=2) + "\n")
    if conversions.failures:
        total = len(students) * len(wanted)
        raise RefusedFilesError(
            f"{len(conversions.failures)} of {total} files are not in {output}, the others are: "
            + "; ".join(conversions.failures)
        )
    return result
