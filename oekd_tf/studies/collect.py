"""Collects the metrics of finished runs from their files."""

from pathlib import Path

import numpy as np

from oekd_tf.core.array_files import read_arrays
from oekd_tf.core.errors import RecordError, one_line
from oekd_tf.core.records import RunRecord, Scores, StudentRecord
from oekd_tf.studies import metrics as evaluation
from oekd_tf.studies.evaluate_run import EVALUATION, LOGITS, is_curve_alone, read_evaluation
from oekd_tf.studies.plan import MUTUAL, Run

_DIGITS = 8


def is_finished(folder: str | Path) -> bool:
    """Whether a run was trained and evaluated."""
    return (Path(folder) / EVALUATION).exists()


def record(run: Run, study: str | Path, teacher_folder: str) -> RunRecord:
    """The record of a finished run, for the results file.

    Args:
        run: A finished run.
        study: Folder of the study.
        teacher_folder: Folder, below the study's, of the run whose ensemble teacher a baseline's
            agreement is measured with; students of an ensemble are compared with their own.

    Returns:
        Metrics, sizes, training time and curves.

    Raises:
        RecordError: The teacher was tested on other images, or logits are NaN.
    """
    folder = Path(study) / run.folder
    facts = read_evaluation(folder)
    summary = facts["summary"]
    logits = _read_logits(folder / LOGITS)
    labels = logits.pop("labels")
    names = [student["name"] for student in summary["students"]]
    if missing := {*names, *(() if run.student else ("teacher",))} - logits.keys():
        raise RecordError(
            f"{folder / LOGITS} must have the logits of each network. "
            f"Received: none of {', '.join(sorted(missing))}"
        )
    teacher = None if run.student else logits["teacher"]
    if teacher is None:
        teacher = _teacher(Path(study) / teacher_folder / LOGITS, labels, folder)
    students: list[StudentRecord] = []
    curves = facts["curves"]
    trained = summary["students"]
    if run.method == MUTUAL:
        # The pair is student 1 and the student that the run is about.
        trained = trained[1:]
        curves = {name.replace("student_2_", ""): values for name, values in curves.items()}
        curves = {name: values for name, values in curves.items() if is_curve_alone(name)}
    for student in trained:
        own: StudentRecord = {
            "name": student["name"],
            "width": student["width"],
            "parameters": student["parameters"],
            "flops": student["flops"],
            **_metrics(logits[student["name"]], labels),
        }
        if teacher is not None:
            agreed = evaluation.agreement(logits[student["name"]], teacher)
            own["agreement"] = round(agreed, _DIGITS)
        if run.student:
            own["name"] = f"student_{run.student}"
        students.append(own)
    found: RunRecord = {
        "method": run.method,
        "seed": run.seed,
        "student": run.student,
        "epochs": summary["epochs"],
        "steps": summary["steps"],
        "replicas": summary["replicas"],
        "train_seconds": summary["train_seconds"],
        "data": summary["data"],
        "image_shape": facts["image_shape"],
        "num_classes": facts["num_classes"],
        "test_images": len(labels),
        "commit": facts["commit"],
        "machine": facts.get("machine"),
        "versions": facts["versions"],
        "students": students,
        "teacher": None if run.student else _metrics(logits["teacher"], labels),
        "curves": curves,
    }
    # Runs of version 0.1 do not say by which method they were trained.
    if "trained_by" in summary:
        found["trained_by"] = summary["trained_by"]
        found["teacher_title"] = summary["teacher_title"]
    return found


def _metrics(logits: np.ndarray, labels: np.ndarray) -> Scores:
    found = evaluation.reliability(logits, labels)
    error = evaluation.expected_calibration_error(logits, labels)
    return {
        "accuracy": round(evaluation.accuracy(logits, labels), _DIGITS),
        "balanced_accuracy": round(evaluation.balanced_accuracy(logits, labels), _DIGITS),
        "worst_recall": round(evaluation.worst_recall(logits, labels), _DIGITS),
        "nll": round(evaluation.negative_log_likelihood(logits, labels), _DIGITS),
        "ece": round(error, _DIGITS),
        "reliability": [
            [one.count, round(one.confidence, _DIGITS), round(one.accuracy, _DIGITS)]
            for one in found
        ],
    }


def _teacher(path: Path, labels: np.ndarray, folder: Path) -> np.ndarray | None:
    if not path.exists():
        return None
    arrays = _read_logits(path)
    if not np.array_equal(arrays["labels"], labels) or "teacher" not in arrays:
        raise RecordError(
            f"All runs of a study must be tested on the same images. Received: other labels "
            f"in {path.parent} than in {folder}"
        )
    return arrays["teacher"]


def _read_logits(path: Path) -> dict[str, np.ndarray]:
    """Test logits by name of the network, and "labels", of arrays that belong together."""
    what = "logits and labels of the test split"
    arrays = read_arrays(path, what, RecordError)
    try:
        labels = arrays["labels"]
        classes = {values.shape[1:] for name, values in arrays.items() if name != "labels"}
        if labels.ndim != 1 or not len(labels) or labels.dtype.kind not in "iu":
            raise ValueError(f"labels of shape {labels.shape}, {labels.dtype}")
        if len(classes) != 1 or len(shape := classes.pop()) != 1:
            raise ValueError("logits of other shapes than (images, classes)")
        (count,) = shape
        if not 0 <= labels.min() <= labels.max() < count:
            raise ValueError(f"labels that are not from 0 to {count - 1}")
        for name, values in arrays.items():
            if len(values) != len(labels) or (name != "labels" and values.dtype.kind != "f"):
                raise ValueError(f"logits of {name} of shape {values.shape}, {values.dtype}")
    except (ValueError, KeyError) as error:
        raise RecordError(f"{path} must be {what}. Received: {one_line(error)}") from None
    return arrays
