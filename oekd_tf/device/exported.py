"""Access to the files of an export and updates of its manifest."""

import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from oekd_tf.core.files import write_errors, write_text
from oekd_tf.core.locks import locked_file
from oekd_tf.core.records import FileFacts, FileIdentity, Manifest, StudentFiles
from oekd_tf.device.manifest import FILE_NAME, LOCK, find_change, parse_manifest, read_manifest

_PATIENCE_SECONDS = 60.0


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

    @property
    def is_of_integers(self) -> bool:
        """Whether the file computes in integers throughout, as far as the manifest says."""
        takes = self.facts.get("input", {}).get("dtype", "")
        return "int" in takes and "float32" not in self.facts.get("tensor_types", {})


def read_export(folder: str | Path) -> Manifest:
    """Reads and checks the manifest of an export.

    Args:
        folder: Folder of the export.

    Returns:
        Content of the manifest, described at the top of `oekd_tf.device.manifest`.

    Raises:
        ValueError: The folder is no export, or a field of its manifest is not what it must be.
    """
    try:
        return read_manifest(folder)
    except FileNotFoundError:
        raise ValueError(
            f"An export must hold {FILE_NAME}. Received: {folder}, which does not"
        ) from None


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
        ValueError: The file is missing or another one, or a link is on the way to it.
    """
    return unchanged_path(folder, file.key, file.facts)


def unchanged_path(folder: str | Path, key: str, facts: FileIdentity) -> Path:
    """The same, of what a manifest or card says of a file.

    Args:
        folder: Folder of the manifest or card.
        key: Student and format, for the error.
        facts: Path, size and SHA-256 of the file.

    Returns:
        Path of the file or folder.

    Raises:
        ValueError: The file is missing or another one, or a link is on the way to it.
    """
    if (change := find_change(Path(folder), facts)) is not None:
        raise ValueError(f"{key} must be the file that was exported. Received: {change}")
    return Path(folder) / facts["path"]


def update_manifest(folder: str | Path, change: Callable[[Manifest], None]) -> Manifest:
    """Changes the manifest of an export, one process at a time; it is written atomically.

    Args:
        folder: Folder of the export.
        change: Function that changes the manifest in place.

    Returns:
        The manifest that was written.

    Raises:
        ValueError: The manifest, or the changed one, is not what it must be.
        LockedError: Another process has been changing it for a minute.
        OSError: It cannot be written.
    """
    path = Path(folder) / FILE_NAME
    read_export(folder)
    with write_errors(folder), locked_file(path.with_name(LOCK), patience=_PATIENCE_SECONDS):
        manifest = read_export(folder)
        change(manifest)
        text = json.dumps(manifest, indent=2) + "\n"
        # What cannot be read again is not written.
        parse_manifest(text)
        write_text(path, text)
    return manifest


def _check_names(what: str, given: Sequence[str] | None, there: Collection[str]) -> None:
    unknown = [name for name in given or () if name not in there]
    if unknown or given == []:
        raise ValueError(
            f"--{what} must be among {', '.join(there)}. Received: {', '.join(unknown) or 'none'}"
        )
