"""What a program does otherwise between a picture and an answer, by what it made of pictures."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oekd_tf.core.regular import regular
from oekd_tf.device.golden import FOLDER, SAME_LEVELS, Vectors
from oekd_tf.device.mistakes import candidates
from oekd_tf.device.predictions import probabilities
from oekd_tf.device.quantization import dequantize
from oekd_tf.device.selftest import golden_files, golden_model, golden_vectors

# Of the spread of a candidate's pixels: decoders and resizers differ by less, on average.
_SAME_INPUT = 0.03
_SAME_PROBABILITY = 0.02

_Mistakes = tuple[str, ...]

# TensorFlow Lite Micro's kernels round otherwise than XNNPACK's, as does a maker's own.
_NO_KNOWN_MISTAKE = (
    "the logits are none that a known mistake makes; kernels may round otherwise: check --inputs"
)


def diagnose_inputs(
    exports: str | Path, inputs: Mapping[str, Any], file: str | None = None
) -> list[str]:
    """What is wrong with the inputs that a program made of an export's pictures.

    Args:
        exports: Folder of the export, or of a delivered file.
        inputs: By name of each picture's file, the input that the program gives to the network, as
            numbers in the order of memory.
        file: Student and format whose file the inputs are for, such as "student_1/int8": they are
            then what its tensor stores. Without, they are pixels from 0 to 255.

    Returns:
        What is wrong, in words; empty if nothing is.

    Raises:
        ValueError: There are no golden vectors, a picture is missing or none of the export's, or
            what was given for it are not the numbers of an input.

    Example:
        >>> diagnose_inputs("savedmodels/demo", {name: my_input(name) for name in names})
        []
    """
    vectors = golden_vectors(exports)
    scale, zero_point = 0.0, 0
    if file is not None:
        scale, zero_point = _opened(exports, vectors, file).input["quantization"]
    given = {
        name: dequantize(values, scale, zero_point)
        for name, values in _checked(inputs, vectors, vectors.inputs[0].shape).items()
    }

    def distance(values: np.ndarray, candidate: np.ndarray) -> float:
        spread = float(candidate.std()) or 1.0
        return float(np.abs(values - candidate).mean()) / spread / _SAME_INPUT

    def is_right(values: np.ndarray, expected: np.ndarray) -> bool:
        # A few wrong pixels hide in a mean.
        largest = float(np.abs(values - expected).max())
        return largest <= SAME_LEVELS and distance(values, expected) <= 1

    rights = dict(zip(vectors.names, vectors.inputs.astype(np.float32), strict=True))
    wrong = [name for name in given if not is_right(given[name], rights[name])]
    if not wrong:
        return []
    distances = _distances(exports, vectors, 3, lambda name, image: distance(given[name], image))
    return _told(distances, wrong, "the input is none that a known mistake makes")


def diagnose_logits(exports: str | Path, logits: Mapping[str, Any], file: str) -> list[str]:
    """What is wrong with the inputs or outputs of a program, by its answers alone.

    Args:
        exports: Folder of the export, or of a delivered file.
        logits: By name of each picture's file, the logits that the program got.
        file: Student and format whose file gave them, such as "student_1/int8".

    Returns:
        What is wrong, in words; empty if nothing is.

    Raises:
        ValueError: There are no golden vectors of this file, a picture is missing or none of the
            export's, or what was given for it is not a number for each class.

    Example:
        >>> diagnose_logits("savedmodels/demo", answers, "student_5/int8")
        ['pixels are scaled to 0…1: the network takes 0 to 255']
    """
    vectors = golden_vectors(exports)
    model = _opened(exports, vectors, file)
    expected, tolerance = vectors.files[file]
    given = _checked(logits, vectors, expected[0].shape)
    right = dict(zip(vectors.names, expected, strict=True))

    def distance(values: np.ndarray, candidate: np.ndarray) -> float:
        return float(np.abs(values - candidate).max()) / tolerance

    wrong = [name for name in given if distance(given[name], right[name]) > 1]
    if not wrong:
        return []
    if told := _output_mistake(given, right, vectors, file, model.output["quantization"]):
        return [told]
    distances = _distances(
        exports, vectors, 2,
        lambda name, image: distance(given[name], model.logits(image[None])[0]),
    )  # fmt: skip
    return _told(distances, wrong, _NO_KNOWN_MISTAKE)


def read_numbers(path: str | Path) -> dict[str, Any]:
    """Reads a program's inputs or logits.

    Args:
        path: A JSON file: an object of a list for each picture.

    Returns:
        Its content.

    Raises:
        ValueError: It is no such file.
    """
    try:
        found = json.loads(regular(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be a JSON file. Received: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(
            f"{path} must be an object of a list for each picture's file. "
            f"Received: {type(found).__name__}"
        )
    return found


def _opened(exports: str | Path, vectors: Vectors, file: str) -> Any:
    if file not in vectors.files:
        raise ValueError(
            "A file must be named by student and format, and have golden logits. "
            f"Received: {file}, known: {', '.join(vectors.files) or 'none, of no TFLite file'}"
        )
    return golden_model(exports, file, golden_files(exports)[file])


def _checked(
    given: Mapping[str, Any], vectors: Vectors, shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    known = [name for name in vectors.names if name]
    if strangers := [name for name in given if name not in known]:
        raise ValueError(
            f"Pictures must be among {', '.join(known)}. Received: {', '.join(strangers)}"
        )
    found = {name: _numbers(given[name], name, shape) for name in known if name in given}
    if missing := [name for name in known if name not in given]:
        raise ValueError(
            "All pictures must be given: each finds other mistakes. "
            f"Received: {len(found)} of {len(known)}, without {', '.join(missing)}"
        )
    return found


def _numbers(values: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape))
    sides = f", {' × '.join(map(str, shape))}" if len(shape) > 1 else ""
    rule = f"{name} must be a list of {size} finite numbers{sides}"
    try:
        found = np.asarray(values)
    except ValueError:
        raise ValueError(f"{rule}. Received: lists that differ in length") from None
    # Whole numbers beyond 64 bits are objects, too.
    if found.dtype.kind not in "iuf":
        raise ValueError(f"{rule}. Received: something else than numbers")
    if found.size != size:
        raise ValueError(f"{rule}. Received: {found.size}")
    with np.errstate(over="ignore"):
        found = found.astype(np.float32)
    if not np.isfinite(found).all():
        raise ValueError(f"{rule}. Received: NaN, infinity or a number beyond float32")
    return found.reshape(shape)


def _distances(
    exports: str | Path,
    vectors: Vectors,
    most: int,
    distance: Callable[[str, np.ndarray], float],
) -> dict[str, dict[_Mistakes, float]]:
    """How far what was given for each picture is from what each mistake makes of it."""
    found = {}
    for name, image in zip(vectors.names, vectors.inputs, strict=True):
        if name:
            content = (Path(exports) / FOLDER / name).read_bytes()
            made = candidates(image, content, vectors.contract, most)
            # Not the candidates themselves: of large images they fill the memory.
            found[name] = {one.mistakes: distance(name, one.values) for one in made}
    return found


def _told(
    distances: Mapping[str, Mapping[_Mistakes, float]], wrong: Sequence[str], unknown: str
) -> list[str]:
    """The mistakes that explain all pictures, or else what is wrong with each."""
    found: dict[_Mistakes, float] = {}
    for mistakes in dict.fromkeys(m for known in distances.values() for m in known if m):
        gaps = []
        for known in distances.values():
            # Where a mistake makes no difference, as of cropping a picture of the network's own
            # size, the others remain.
            rest = tuple(one for one in mistakes if any(one in other for other in known))
            gaps.append(known.get(mistakes, known.get(rest, known[()])))
        if max(gaps) <= 1:
            found[mistakes] = float(np.mean(gaps))
    if found:
        return list(_least(found))
    lines = []
    for name in wrong:
        near = {mistakes: gap for mistakes, gap in distances[name].items() if mistakes}
        best = _least(near)
        lines.append(f"{name}: {' and '.join(best) if near[best] <= 1 else unknown}")
    return lines


def _least(distances: Mapping[_Mistakes, float]) -> _Mistakes:
    """The mistakes of the least distance; the fewest of those that are equal."""
    return min(distances, key=lambda mistakes: (distances[mistakes], len(mistakes)))


def _output_mistake(
    given: Mapping[str, np.ndarray],
    right: Mapping[str, np.ndarray],
    vectors: Vectors,
    file: str,
    quantization: tuple[float, int],
) -> str:
    """What is wrong with outputs whose inputs were right; "" if it is none of these."""
    tolerance = vectors.files[file][1]
    scale, zero_point = quantization

    def all_near(change: Callable[[np.ndarray, np.ndarray], float], limit: float) -> bool:
        return all(change(given[name], right[name]) <= limit for name in given)

    if all_near(
        lambda values, logits: float(np.abs(values - probabilities(logits)).max()),
        _SAME_PROBABILITY,
    ):
        return "these are probabilities: softmax comes after logits"
    if scale:
        steps = tolerance / scale
        if all_near(lambda v, e: float(np.abs(v - (e / scale + zero_point)).max()), steps):
            return "the output's integers are given: a logit is scale × (stored - zero point)"
        if all_near(lambda v, e: float(np.abs(v - e / scale).max()), steps):
            return "the output's scale is missing: a logit is scale × (stored - zero point)"
        if all_near(lambda v, e: float(np.abs(v - (e + scale * zero_point)).max()), tolerance):
            return "the output's zero point is missing: a logit is scale × (stored - zero point)"
    far = sum(float(np.abs(given[name] - right[name]).mean()) for name in given)
    for other, (logits, limit) in vectors.files.items():
        gaps = [np.abs(given[n] - row) for n, row in zip(vectors.names, logits, strict=True) if n]
        # Files of one student are alike: theirs must be clearly nearer.
        near = sum(float(gap.mean()) for gap in gaps)
        if other != file and max(gap.max() for gap in gaps) <= limit and near < far / 2:
            return f"these are the logits of {other}"
    if all_near(lambda v, e: float(np.abs(np.sort(v) - np.sort(e)).max()), tolerance):
        return "the logits are right, in another order than that of the classes"
    return ""
