"""Access to the files of an export and updates of its manifest."""

import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from oekd_tf.core.files import write_text
from oekd_tf.core.records import FileFacts, Manifest, StudentFiles
from oekd_tf.device.manifest import FILE_NAME, file_facts


class ExportedFile(NamedTuple):
    """A student in one format.

    Attributes:
        student: The student's entry in the manifest.
        format: Name of the format.
        facts: The file's entry in the manifest.
    """

    student: StudentFiles
    format: str
    facts: FileFacts

    @property
    def key(self) -> str:
        """Key of the file's results in the manifest, for instance "student_5/int8"."""
        return f"{self.student['name']}/{self.format}"

    @property
    def is_tflite(self) -> bool:
        return self.facts["path"].endswith(".tflite")


def read_export(folder: str | Path) -> Manifest:
    """Reads and checks the manifest of an export.

    Args:
        folder: Folder of the export.

    Returns:
        Content of the manifest, described at the top of `oekd_tf.device.manifest`.

    Raises:
        ValueError: The folder is no export.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise ValueError(f"An export must hold {FILE_NAME}. Received: {folder}, which does not")
    try:
        manifest = json.loads(path.read_text())
        files = exported_files(manifest)
        if not files:
            raise ValueError("it holds no files")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must be an export's manifest. Received: {error}") from None
    return manifest


def exported_files(
    manifest: Manifest,
    students: Sequence[str] | None = None,
    formats: Sequence[str] | None = None,
) -> list[ExportedFile]:
    """The files of an export, in the manifest's order.

    Args:
        manifest: Manifest of the export.
        students: Names of the students; all if None.
        formats: Names of the formats; all if None.

    Returns:
        One file for each student and format.

    Raises:
        ValueError: A name is not in the manifest.

    Example:
        >>> [file.key for file in exported_files(read_export("savedmodels/demo"))]
    """
    files = [
        ExportedFile(student, name, facts)
        for student in manifest["students"]
        for name, facts in student["formats"].items()
    ]
    there = dict.fromkeys(student["name"] for student in manifest["students"])
    _check_names("students", students, there)
    _check_names("formats", formats, dict.fromkeys(file.format for file in files))
    return [
        file
        for file in files
        if (students is None or file.student["name"] in students)
        and (formats is None or file.format in formats)
    ]


def find_file(manifest: Manifest, student: str, file_format: str) -> ExportedFile:
    """One student's file of one format.

    Args:
        manifest: Manifest of the export.
        student: Name of the student.
        file_format: Name of the format.

    Returns:
        The file.

    Raises:
        ValueError: The export does not hold it.
    """
    files = exported_files(manifest)
    found = next(
        (f for f in files if (f.student["name"], f.format) == (student, file_format)), None
    )
    if found is None:
        raise ValueError(
            f"The export must hold {student} as {file_format}. "
            f"Received: one of {', '.join(file.key for file in files)}"
        )
    return found


def verified_path(folder: str | Path, file: ExportedFile) -> Path:
    """Path of a file whose SHA-256 is verified.

    Args:
        folder: Folder of the export.
        file: File of its manifest.

    Returns:
        Path of the file or folder.

    Raises:
        ValueError: The file is missing or damaged.
    """
    path = Path(folder) / file.facts["path"]
    if not path.exists():
        raise ValueError(
            f"The export must hold {file.facts['path']}. Received: {folder} without it"
        )
    found = file_facts(path, Path(folder))["sha256"]
    if found != file.facts["sha256"]:
        raise ValueError(
            f"{path} must be the file that was exported, of SHA-256 {file.facts['sha256']}. "
            f"Received: {found}"
        )
    return path


def update_manifest(folder: str | Path, change: Callable[[Manifest], None]) -> Manifest:
    """Changes the manifest of an export; it is written atomically.

    Args:
        folder: Folder of the export.
        change: Function that changes the manifest in place.

    Returns:
        The manifest that was written.
    """
    manifest = read_export(folder)
    change(manifest)
    write_text(Path(folder) / FILE_NAME, json.dumps(manifest, indent=2) + "\n")
    return manifest


def _check_names(what: str, given: Sequence[str] | None, there: Collection[str]) -> None:
    unknown = [name for name in given or () if name not in there]
    if unknown or given == []:
        raise ValueError(
            f"--{what} must be among {', '.join(there)}. Received: {', '.join(unknown) or 'none'}"
        )
