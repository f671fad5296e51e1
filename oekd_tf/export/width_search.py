"""The widths of students that fit a budget."""

import functools
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np

from oekd_tf.backbones.backbone import Backbone
from oekd_tf.models.branches import build_branches
from oekd_tf.models.size import count_flops, count_parameters

UNITS = ("parameters", "flops", "int8_bytes", "compression")

# Widths are searched in thousandths: finer than a channel of the widest layers in the field.
_STEPS = 1000


def widths_for(
    backbone: Backbone,
    budgets: Sequence[Mapping[str, float]],
    *,
    input_shape: Sequence[int] = (32, 32, 3),
    num_classes: int = 10,
    batch_size: int | None = 1,
    progress: Callable[[str], None] = print,
) -> tuple[float, ...]:
    """The width of the widest student that fits each budget.

    A student's size is that of the student alone: stem, branch and classifier.

    Args:
        backbone: Network family.
        budgets: One budget a student: a limit, or several that must all hold: "parameters"
            (trainable, at most), "flops" (floating-point operations for one image as
            `count_flops` has them, at most), "int8_bytes" (size of the int8 TFLite file, at
            most), "compression" (% of the full-width student's parameters that are gone, at
            least).
        input_shape: Shape of an image, (height, width, channels).
        num_classes: Number of classes.
        batch_size: Batch size of the int8 file, as in `export_students`; a file of any batch size,
            None, is some hundred bytes larger.
        progress: Called with a message for each file that is measured and each width found.

    Returns:
        One width a budget, in thousandths, for `OnlineEnsemble(widths=(1.0, *widths))` if the
        budgets fall.

    Raises:
        ValueError: A budget is none of these, or no student of this family fits it.

    Example:
        >>> widths_for(oekd_tf.backbones.CifarResNet(20), [{"parameters": 100_000},
        ...     {"compression": 95}, {"int8_bytes": 20_000, "flops": 5e6}])
    """
    if isinstance(budgets, Mapping):
        raise ValueError(f"budgets must be a sequence, one budget a student. Received: {budgets!r}")
    for budget in budgets:
        _check_budget(budget)
    sizes = _Sizes(backbone, tuple(input_shape), num_classes, batch_size, progress)
    widths = []
    for budget in budgets:
        widths.append(_widest(sizes, budget) / _STEPS)
        limits = ", ".join(f"{unit} {limit:,}" for unit, limit in budget.items())
        progress(f"{limits}: width {widths[-1]:g}")
    return tuple(widths)


class _Sizes:
    """Sizes of a family's students, each network built once.

    Args:
        backbone: Network family.
        input_shape: Shape of an image, (height, width, channels).
        num_classes: Number of classes.
        batch_size: Batch size of the int8 file, or None.
        progress: Called with a message for each file that is measured.
    """

    def __init__(
        self,
        backbone: Backbone,
        input_shape: tuple[int, ...],
        num_classes: int,
        batch_size: int | None,
        progress: Callable[[str], None],
    ):
        self.backbone = backbone
        self._input_shape = input_shape
        self._num_classes = num_classes
        self._batch_size = batch_size
        self._progress = progress
        self._bytes: dict[tuple[int, int], int] = {}

    @functools.cache  # noqa: B019 (lives as long as one search)
    def counts(self, step: int) -> tuple[int, int]:
        """Parameters and FLOPs at width step / 1000."""
        student = self._student(step)
        return count_parameters(student), count_flops(student)

    def int8_bytes(self, step: int) -> int:
        """Size of the int8 TFLite file at width step / 1000."""
        counts = self.counts(step)
        # Widths of the same counts are the same network.
        if counts not in self._bytes:
            self._bytes[counts] = int8_bytes(self._student(step), self._batch_size)
            self._progress(f"width {step / _STEPS:g}: {self._bytes[counts]:,} bytes in int8")
        return self._bytes[counts]

    def _student(self, step: int) -> keras.Model:
        return probe_student(self.backbone, self._input_shape, self._num_classes, step / _STEPS)


def _widest(sizes: _Sizes, budget: Mapping[str, float]) -> int:
    def cheap(step: int) -> bool:
        parameters, flops = sizes.counts(step)
        full, _ = sizes.counts(_STEPS)
        return (
            parameters <= budget.get("parameters", math.inf)
            and flops <= budget.get("flops", math.inf)
            and 100 * (1 - parameters / full) >= budget.get("compression", 0)
            # A weight takes a byte at least: a bound that saves most conversions.
            and parameters <= budget.get("int8_bytes", math.inf)
        )

    narrowest = _first(lambda step: _can_be_built(sizes, step), 1, _STEPS)
    if not cheap(narrowest):
        raise _none_fits(sizes, budget, narrowest)
    step = _first(lambda s: not cheap(s), narrowest, _STEPS + 1) - 1
    limit = budget.get("int8_bytes")
    if limit is None:
        return step
    if sizes.int8_bytes(step) <= limit:
        return step
    if sizes.int8_bytes(narrowest) > limit:
        raise _none_fits(sizes, budget, narrowest)
    return _first(lambda s: sizes.int8_bytes(s) > limit, narrowest, step) - 1


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The least number from low on for which a rising predicate holds; high if there is none."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _can_be_built(sizes: _Sizes, step: int) -> bool:
    try:
        sizes.counts(step)
    except ValueError:
        return False
    return True


def _none_fits(sizes: _Sizes, budget: Mapping[str, float], narrowest: int) -> ValueError:
    parameters, flops = sizes.counts(narrowest)
    full, _ = sizes.counts(_STEPS)
    size = f", {sizes.int8_bytes(narrowest):,} bytes in int8" if "int8_bytes" in budget else ""
    return ValueError(
        f"A budget must leave room for the narrowest student of {sizes.backbone}: {parameters:,} "
        f"parameters ({100 * (1 - parameters / full):.1f} % compressed), {flops:,} FLOPs{size}. "
        f"Received: {dict(budget)}"
    )


def probe_student(
    backbone: Backbone, input_shape: Sequence[int], num_classes: int, width: float
) -> keras.Model:
    """A student alone, for its size: untrained, with a normalization like that of real images.

    Args:
        backbone: Network family.
        input_shape: Shape of an image, (height, width, channels).
        num_classes: Number of classes.
        width: Width of the student.

    Returns:
        Functional model from raw images to logits.

    Example:
        >>> int8_bytes(probe_student(oekd_tf.backbones.CifarResNet(8), (28, 28, 1), 10, 0.5))
    """
    channels = range(input_shape[-1])
    # With mean 0 and deviation 1 the converter would leave the normalization out, and the file
    # would lack some 700 bytes that a trained student's has.
    mean, std = [120.0 + channel for channel in channels], [60.0 + channel for channel in channels]
    built = build_branches(backbone, input_shape, num_classes, [width], mean, std)
    return built.students[0]


def int8_bytes(student: keras.Model, batch_size: int | None = 1) -> int:
    """Size of a student's int8 TFLite file, whatever its weights; they are overwritten.

    Args:
        student: Functional model from raw images to logits, with the normalization that it is
            exported with.
        batch_size: Batch size of the file, or None for any.

    Returns:
        The size, in bytes.

    Raises:
        ExportError: The student cannot be converted.

    Example:
        >>> int8_bytes(ensemble.students[-1])
    """
    from oekd_tf.export import formats
    from oekd_tf.export.formats.parts.signature import write_converter_input
    from oekd_tf.export.plain_student import plain_student

    # An untrained student's biases are all the same, and a file holds equal constants once: only
    # with weights that all differ is it as large as a trained student's. The values are small: in
    # a deep network larger ones overflow, and infinite ranges end the converter's process.
    rng = np.random.default_rng(0)
    student.set_weights(
        [w if np.ptp(w) else rng.uniform(0.1, 0.2, w.shape) for w in student.get_weights()]
    )
    # The size does not depend on what the ranges are calibrated with.
    images = rng.integers(0, 256, (2, *student.input_shape[1:]), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        write_converter_input(plain_student(student), folder, batch_size)
        source = formats.Source(folder, student.name, calibration_images=images)
        return len(formats.kind("int8").convert(source))


def _check_budget(budget: Mapping[str, float]) -> None:
    valid = isinstance(budget, Mapping) and budget and all(unit in UNITS for unit in budget)
    if valid:
        for unit, limit in budget.items():
            number = isinstance(limit, int | float) and math.isfinite(limit)
            valid &= number and (0 <= limit < 100 if unit == "compression" else limit > 0)
    if not valid:
        raise ValueError(
            f"A budget must be a mapping from {', '.join(UNITS)} to a limit above 0, for "
            f"compression in % below 100. Received: {budget!r}"
        )
