"""Whether a device and a program get an export's golden answers, and if not, what is wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from oekd_tf.core.records import FileIdentity
from oekd_tf.core.regular import regular
from oekd_tf.device.card import FILE_NAME as CARD
from oekd_tf.device.card import read_card
from oekd_tf.device.exported import exported_files, read_export
from oekd_tf.device.golden import FOLDER, Vectors, read_golden
from oekd_tf.device.manifest import find_change
from oekd_tf.device.mistakes import candidates
from oekd_tf.device.pictures import read_image
from oekd_tf.device.tflite_model import TfliteModel

# Of the spread of an input's pixels: decoders and resizers differ by less.
_SAME_INPUT = 0.03
# Of a picture: JPEG decoders differ by a level or two.
_SAME_LEVELS = 4


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
    if (change := find_change(Path(exports), selftest)) is not None:
        raise ValueError(f"{FOLDER} must be what was exported. Received: {change}")
    return read_golden(exports)


def _files(
    exports: str | Path,
    students: Sequence[str] | None = None,
    formats: Sequence[str] | None = None,
) -> dict[str, FileIdentity]:
    """The files of an export, or the one that was delivered, by student and format."""
    if (Path(exports) / CARD).exists():
        card = read_card(exports)
        return {f"{card['student']['name']}/{card['format']['name']}": card["format"]}
    found = exported_files(read_export(exports), students, formats)
    return {file.key: file.facts for file in found}


def _model(exports: str | Path, key: str, facts: FileIdentity) -> TfliteModel:
    if (change := find_change(Path(exports), facts)) is not None:
        raise ValueError(f"{key} must be the file that was exported. Received: {change}")
    return TfliteModel(Path(exports) / facts["path"])


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
    for key, facts in _files(exports, students, formats).items():
        if key not in vectors.files:
            continue
        expected, tolerance = vectors.files[key]
        found = _model(exports, key, facts).logits(vectors.inputs)
        difference = float(np.abs(found - expected).max())
        same = int((found.argmax(-1) == expected.argmax(-1)).sum())
        difference = np.nan_to_num(difference, nan=np.inf)
        results.append(FileResult(key, difference, tolerance, same, len(expected)))
    if not results:
        raise ValueError(f"There must be a TFLite file to run. Received: none in {exports}")
    return results


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
        if levels > _SAME_LEVELS:
            return f"{name} becomes another input here: pixels differ by up to {levels} of 255"
    return ""


def diagnose_inputs(exports: str | Path, inputs: Mapping[str, Any]) -> list[str]:
    """What is wrong with the inputs that a program made of an export's pictures.

    Args:
        exports: Folder of the export, or of a delivered file.
        inputs: By name of the picture's file, the input that the program gives to the network, as
            numbers in the order of memory, raw or as an int8 tensor stores them; of some pictures
            or all.

    Returns:
        What is wrong, in words; empty if nothing is.

    Raises:
        ValueError: There are no golden vectors, a name is none of its pictures, or an input is of
            another size.

    Example:
        >>> diagnose_inputs("savedmodels/demo", {"picture_1.png": my_input.tolist()})
        []
    """
    vectors = golden_vectors(exports)
    shape = vectors.inputs[0].shape
    given = {name: _pixels(_numbers(inputs[name], name, shape)) for name in inputs}
    return _nearest(
        exports, vectors, given, 3, lambda values: values, _SAME_INPUT,
        "the input is none that a known mistake makes",
    )  # fmt: skip


def diagnose_logits(
    exports: str | Path, logits: Mapping[str, Any], student: str, file_format: str
) -> list[str]:
    """What is wrong with the inputs of a program, by its answers alone.

    Args:
        exports: Folder of the export, or of a delivered file.
        logits: By name of the picture's file, the logits that the program got; of some pictures
            or all. The more, the surer.
        student: Name of the student whose file gave them.
        file_format: Its format.

    Returns:
        What is wrong, in words; empty if nothing is.

    Raises:
        ValueError: There are no golden vectors of this file, or a name or a number is none.

    Example:
        >>> diagnose_logits("savedmodels/demo", {"picture_1.png": [0.1, 2.3]}, "student_5", "int8")
        ['pixels are scaled to 0…1: the network takes 0 to 255']
    """
    vectors = golden_vectors(exports)
    key = f"{student}/{file_format}"
    if key not in vectors.files:
        raise ValueError(
            f"There must be golden logits of the file. Received: {key}, known: "
            f"{', '.join(vectors.files)}"
        )
    model = _model(exports, key, _files(exports)[key])
    expected, tolerance = vectors.files[key]
    given = {name: _numbers(logits[name], name, expected[0].shape) for name in logits}
    right = {name: expected[vectors.names.index(name)] for name in given if name in vectors.names}
    if len(right) == len(given) and all(
        np.abs(given[name] - right[name]).max() <= tolerance for name in given
    ):
        return []
    spread = float(expected.std()) or 1.0
    return _nearest(
        exports, vectors, given, 2, lambda values: model.logits(values[None])[0],
        max(tolerance / spread, _SAME_INPUT), "the logits are none that a known mistake makes",
    )  # fmt: skip


def read_numbers(path: str | Path) -> dict[str, Any]:
    """Reads a program's inputs or logits: a JSON object of a list for each picture."""
    import json

    try:
        found = json.loads(regular(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be a JSON file. Received: {error}") from None
    if not isinstance(found, dict) or not found:
        raise ValueError(
            f"{path} must be an object of a list for each picture's file. "
            f"Received: {type(found).__name__}"
        )
    return found


def _numbers(values: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    try:
        found = np.asarray(values, np.float32).ravel()
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a list of numbers. Received: something else") from None
    if found.size != np.prod(shape):
        raise ValueError(
            f"{name} must be {int(np.prod(shape))} numbers, of {' × '.join(map(str, shape))}. "
            f"Received: {found.size}"
        )
    return found.reshape(shape)


def _pixels(values: np.ndarray) -> np.ndarray:
    """What an int8 tensor stores as pixels; others as they are."""
    stored = values.min() < -1 and values.max() <= 127 and np.array_equal(values, values.round())
    return values + 128 if stored else values


def _nearest(
    exports: str | Path,
    vectors: Vectors,
    given: Mapping[str, np.ndarray],
    most: int,
    answer: Any,
    limit: float,
    unknown: str,
) -> list[str]:
    """The mistakes of the candidate that is nearest on average over all pictures."""
    known = [name for name in vectors.names if name]
    if strangers := [name for name in given if name not in known]:
        raise ValueError(
            f"Pictures must be among {', '.join(known)}. Received: {', '.join(strangers)}"
        )
    distances: dict[tuple[str, ...], list[float]] = {}
    numbers = [vectors.names.index(name) for name in given]
    everything = []
    for number, values in zip(numbers, given.values(), strict=True):
        content = (Path(exports) / FOLDER / vectors.names[number]).read_bytes()
        made = candidates(vectors.inputs[number], content, vectors.contract, most)
        everything.append((values, {one.mistakes: one.values for one in made}))
    names = dict.fromkeys(name for _, table in everything for name in table)
    for name in names:
        for values, table in everything:
            # Of a picture of the network's own size a mistake of cropping leaves the others.
            rest = tuple(part for part in name if any(part in other for other in table))
            expected = answer(table.get(name, table.get(rest, table[()])))
            spread = float(expected.std()) or 1.0
            distance = float(np.abs(values - expected).mean()) / spread
            distances.setdefault(name, []).append(np.nan_to_num(distance, nan=np.inf))
    # The first of equals has the fewest mistakes.
    best = min(sorted(names, key=len), key=lambda name: float(np.mean(distances[name])))
    if float(np.mean(distances[()])) <= limit / 3:
        best = ()
    if float(np.mean(distances[best])) > limit:
        nearest = " and ".join(best) or "the right input"
        return [f"{unknown}; the nearest is: {nearest}"]
    return list(best)
