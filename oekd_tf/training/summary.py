"""The summary of a finished run, `summary.json`."""

import json
from pathlib import Path

from oekd_tf.core.errors import ConfigError
from oekd_tf.core.files import write_text
from oekd_tf.core.json_files import read_json
from oekd_tf.core.records import Summary

FILE_NAME = "summary.json"


def read_summary(workdir: str | Path) -> Summary:
    """Reads the summary of a run.

    Args:
        workdir: Folder of the run.

    Returns:
        Content of `summary.json`; `oekd_tf.core.records.Summary` says what the fields are.

    Raises:
        ConfigError: There is none, or a field is not what it must be.

    Example:
        >>> [student["test_accuracy"] for student in read_summary("runs/demo")["students"]]
    """
    path = Path(workdir) / FILE_NAME
    try:
        return read_json(path, Summary, "a run's summary", ConfigError, _check)
    except FileNotFoundError:
        raise ConfigError(
            f"A finished run must hold {FILE_NAME}. Received: {workdir}, which does not"
        ) from None


def write_summary(workdir: str | Path, summary: Summary) -> None:
    """Writes the summary of a run, atomically.

    Args:
        workdir: Folder of the run.
        summary: The summary.
    """
    write_text(Path(workdir) / FILE_NAME, json.dumps(summary, indent=2) + "\n")


def _check(summary: Summary) -> None:
    """Raises a ValueError where fields do not fit together."""
    names = [student["name"] for student in summary["students"]]
    if len(set(names)) < len(names):
        raise ValueError("students must have names that differ, and have not")
    found = summary.get("per_class")
    if found is None:
        return
    classes = len(found["class_names"])
    lists = {"test_examples": found["test_examples"], "train_examples": found["train_examples"]}
    for name, scores in found["networks"].items():
        if name not in (*names, "teacher"):
            raise ValueError(f"per_class.networks must be of the students, and has {name!r}")
        lists[f"networks.{name}.recall"] = scores["recall"]  # type: ignore[assignment]
    for name, values in lists.items():
        if values is not None and len(values) != classes:
            raise ValueError(
                f"per_class.{name} must be of {classes} classes, and is of {len(values)}"
            )
    if not set(names) <= found["networks"].keys():
        raise ValueError("per_class.networks must have every student, and has not")
