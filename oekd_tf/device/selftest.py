"""Whether an export's files and pictures give its golden answers on a machine."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from oekd_tf.core.records import FileIdentity
from oekd_tf.core.text import as_lines
from oekd_tf.device.card import FILE_NAME as CARD
from oekd_tf.device.card import read_card
from oekd_tf.device.exported import exported_files, read_export, unchanged_path
from oekd_tf.device.golden import FOLDER, SAME_LEVELS, Vectors, check_unchanged, read_golden
from oekd_tf.device.manifest import LABELS
from oekd_tf.device.pictures import read_image
from oekd_tf.device.predictions import read_labels
from oekd_tf.device.tflite_model import TfliteModel


class FileResult(NamedTuple):
    """What a file answers here.

    Attributes:
        name: Student and format.
        difference: Largest difference from the golden logits.
        tolerance: Largest difference that is none.
        same_class: Number of pictures with the same top class.
        pictures: Number of pictures.
    """

    name: str
    difference: float
    tolerance: float
    same_class: int
    pictures: int

    @property
    def passed(self) -> bool:
        return self.difference <= self.tolerance


def golden_vectors(exports: str | Path) -> Vectors:
    """The golden vectors of an export, which must be those that were exported.

    Args:
        exports: Folder of the export, or of a file that `oekd pick` has delivered.

    Returns:
        The vectors.

    Raises:
        ValueError: There are none, or they were changed.

    Example:
        >>> golden_vectors("savedmodels/demo").names
    """
    if (Path(exports) / CARD).exists():
        selftest = read_card(exports).get("selftest")
    else:
        selftest = read_export(exports).get("selftest")
    if selftest is None:
        raise ValueError(
            f"An export must hold golden vectors. Received: {exports}, of a version that wrote "
            "none; export again"
        )
    check_unchanged(exports, selftest)
    return read_golden(exports)


def golden_files(
    exports: str | Path,
    students: Sequence[str] | None = None,
    formats: Sequence[str] | None = None,
) -> dict[str, FileIdentity]:
    """The files of an export, or the one that was delivered.

    Args:
        exports: Folder of the export, or of a delivered file.
        students: Names of the students; all if None.
        formats: Names of the formats; all if None.

    Returns:
        Path, size and hash by student and format, such as "student_1/int8".

    Raises:
        ValueError: A name is not in the manifest.
    """
    if (Path(exports) / CARD).exists():
        card = read_card(exports)
        return {f"{card['student']['name']}/{card['format']['name']}": card["format"]}
    found = exported_files(read_export(exports), students, formats)
    return {file.key: file.facts for file in found}


def golden_model(exports: str | Path, key: str, facts: FileIdentity) -> TfliteModel:
    """Opens a file that must be the one that was exported.

    Args:
        exports: Folder that it is in.
        key: Student and format, for the error.
        facts: Its path, size and hash.

    Raises:
        ValueError: It was changed.
    """
    return TfliteModel(unchanged_path(exports, key, facts))


def run_files(
    exports: str | Path,
    students: Sequence[str] | None = None,
    formats: Sequence[str] | None = None,
) -> list[FileResult]:
    """Runs the TFLite files of an export on its golden inputs.

    Args:
        exports: Folder of the export, or of a delivered file.
        students: Names of the students; all if None.
        formats: Names of the formats; all if None.

    Returns:
        A result for each file.

    Raises:
        ValueError: There are no golden vectors or no TFLite files, or a file was changed.

    Example:
        >>> all(result.passed for result in run_files("savedmodels/demo"))
        True
    """
    vectors = golden_vectors(exports)
    results = []
    for key, facts in golden_files(exports, students, formats).items():
        if key not in vectors.files:
            continue
        expected, tolerance = vectors.files[key]
        found = golden_model(exports, key, facts).logits(vectors.inputs)
        difference = float(np.abs(found - expected).max())
        same = int((found.argmax(-1) == expected.argmax(-1)).sum())
        difference = np.nan_to_num(difference, nan=np.inf)
        results.append(FileResult(key, difference, tolerance, same, len(expected)))
    if not results:
        raise ValueError(
            f"There must be a TFLite file to run. Received: none in {exports}; the int8 file that "
            "mcu is made of has its answers"
        )
    return results


def check_labels(
    exports: str | Path,
    students: Sequence[str] | None = None,
    formats: Sequence[str] | None = None,
) -> str:
    """Whether the labels beside the files are those that were exported.

    Args:
        exports: Folder of the export, or of a delivered file.
        students: Names of the students; all if None.
        formats: Names of the formats; all if None.

    Returns:
        "" if they are, or none are there; otherwise what is wrong, in one line.

    Raises:
        ValueError: There are no golden vectors, or a name is not in the manifest.
        OSError: Labels cannot be read.
    """
    names = golden_vectors(exports).contract["class_names"] or []
    expected = as_lines(names).splitlines()
    places = [facts["path"] for facts in golden_files(exports, students, formats).values()]
    for folder in dict.fromkeys((Path(exports) / place).parent for place in places):
        if not (path := folder / LABELS).exists():
            continue
        found = read_labels(path, path, len(expected))
        for index, (own, right) in enumerate(zip(found, expected, strict=True)):
            if own != right:
                return f"{path}, whose class {index} is {own!r}, not {right!r}"
    return ""


def check_pictures(exports: str | Path) -> str:
    """Whether pictures become the golden inputs here.

    Args:
        exports: Folder of the export, or of a delivered file.

    Returns:
        "" if they do; otherwise what is wrong, in one line.

    Raises:
        ValueError: There are no golden vectors, or they were changed.
    """
    vectors = golden_vectors(exports)
    preparation = vectors.contract["preparation"]
    height, width, channels = vectors.contract["image_shape"]
    for name, expected in zip(vectors.names, vectors.inputs, strict=True):
        if not name:
            continue
        crop = None if preparation is None else preparation["crop"]
        image = read_image(Path(exports) / FOLDER / name, (height, width, channels), crop)
        levels = int(np.abs(image.astype(int) - expected).max())
        if levels > SAME_LEVELS:
            return f"{name} becomes another input here: pixels differ by up to {levels} of 255"
    return ""
