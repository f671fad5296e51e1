"""The widths of students that fit a budget."""

import functools
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from oekd_tf.backbones.backbone import Backbone
from oekd_tf.device import arena, npu
from oekd_tf.device.exported import exported_files, read_export
from oekd_tf.device.latency import fastest_turns
from oekd_tf.device.measurements import median_ms
from oekd_tf.export.probe import probe_student, tflite_file, tflite_formats
from oekd_tf.export.staircase import Staircase, first
from oekd_tf.models.size import count_flops, count_parameters

UNITS = (
    "parameters", "flops", "int8_bytes", "compression", "latency_ms", "arena_bytes",
    "inferences_per_s",
)  # fmt: skip
# What a latency is measured with, and without these.
LATENCY_DEFAULTS = {"format": "int8", "threads": 1}

_ELSEWHERE = ("exports", "device")
_TARGET = "npu"

# Widths are searched in thousandths: finer than a channel of the widest layers in the field.
_STEPS = 1000
_MOST_THREADS = 1024
_TURNS = 30


def widths_for(
    backbone: Backbone,
    budgets: Sequence[Mapping[str, Any]],
    *,
    input_shape: Sequence[int] = (32, 32, 3),
    num_classes: int = 10,
    batch_size: int | None = 1,
    progress: Callable[[str], None] = print,
) -> tuple[float, ...]:
    """The width of the widest student that fits each budget.

    A student's size is that of the student alone: stem, branch and classifier. Its latency is
    measured here, of the file of an untrained one. Latency does not rise evenly with the width, and
    a measurement may be too long: so bisection is followed by eight networks each wider than what
    it found, and those that are near to the limit are measured twice more, in turns. Of each
    network the fastest turn counts (`oekd_tf.device.latency.fastest_turns`).

    Args:
        backbone: Network family.
        budgets: One budget a student: a limit, or several that must all hold: "parameters"
            (trainable, at most), "flops" (floating-point operations for one image as
            `count_flops` has them, at most), "int8_bytes" (size of the int8 TFLite file without
            labels and metadata, at most), "compression" (% of the full-width student's
            parameters that are gone, at least), "latency_ms" (milliseconds of a run of the TFLite
            file on this machine, at most). Beside "latency_ms" a budget may have "format", a TFLite
            format, int8 if it has none, and "threads", 1 if it has none; and "exports" and
            "device", the folder of an export of this family that `oekd bench` measured and the name
            of the device there: then nothing is measured here, and the answer is among the widths
            of that export. Of the int8 file also "arena_bytes" (memory of TensorFlow Lite Micro, at
            most), and "inferences_per_s" (at least, as Vela estimates them) with "npu", one of
            `oekd_tf.device.npu.TARGETS`; both need `oekd-tf[mcu]`.
        input_shape: Shape of an image, (height, width, channels).
        num_classes: Number of classes.
        batch_size: Batch size of the files, as in `export_students`; an int8 file of any batch
            size, None, is some hundred bytes larger. A run is of one batch, or of one image.
        progress: Called with a message for each file that is measured and each width found.

    Returns:
        One width a budget, in thousandths, for `OnlineEnsemble(widths=(1.0, *widths))` if the
        budgets fall.

    Raises:
        ValueError: A budget is none of these, no student of this family fits it, or an export is
            of another family or was not measured.

    Example:
        >>> widths_for(oekd_tf.backbones.CifarResNet(20), [{"parameters": 100_000},
        ...     {"compression": 95}, {"latency_ms": 0.13, "format": "int8", "flops": 5e6}])
    """
    if isinstance(budgets, Mapping):
        raise ValueError(f"budgets must be a sequence, one budget a student. Received: {budgets!r}")
    for budget in budgets:
        _check_budget(budget)
        if "arena_bytes" in budget and not arena.is_installed():
            raise ValueError(f"{arena.MISSING}. Received: {dict(budget)}")
        if _TARGET in budget and not npu.is_installed():
            raise ValueError(f"{npu.MISSING}. Received: {dict(budget)}")
    widths = []
    with tempfile.TemporaryDirectory() as folder:
        shape = tuple(input_shape)
        sizes = _Sizes(backbone, shape, num_classes, batch_size, Path(folder), progress)
        for budget in budgets:
            widths.append(_widest(sizes, budget) / _STEPS)
            progress(f"{_described(budget)}: width {widths[-1]:g}")
    return tuple(widths)


class _Sizes:
    """Sizes and latencies of a family's students, each network built and converted once.

    Args:
        backbone: Network family.
        input_shape: Shape of an image, (height, width, channels).
        num_classes: Number of classes.
        batch_size: Batch size of the files, or None.
        folder: Where to write them.
        progress: Called with a message for each file that is measured.
    """

    def __init__(
        self,
        backbone: Backbone,
        input_shape: tuple[int, ...],
        num_classes: int,
        batch_size: int | None,
        folder: Path,
        progress: Callable[[str], None],
    ):
        self.backbone = backbone
        self._input_shape = input_shape
        self._num_classes = num_classes
        self._batch_size = batch_size
        self._folder = folder
        self._progress = progress
        self._bytes: dict[tuple[int, int], int] = {}

    @functools.cache  # noqa: B019 (lives as long as one search)
    def counts(self, step: int) -> tuple[int, int]:
        """Parameters and FLOPs at width step / 1000; widths of the same are the same network."""
        student = self._student(step)
        return count_parameters(student), count_flops(student)

    def int8_bytes(self, step: int) -> int:
        """Size of the int8 TFLite file at width step / 1000."""
        counts = self.counts(step)
        if counts not in self._bytes:
            self._bytes[counts] = self._file(step, "int8").stat().st_size
            self._progress(f"width {step / _STEPS:g}: {self._bytes[counts]:,} bytes in int8")
        return self._bytes[counts]

    @functools.cache  # noqa: B019
    def latencies(self, file_format: str, threads: int) -> Staircase:
        """Latencies by width in thousandths."""

        def measure(steps: Sequence[int]) -> list[float]:
            files = {str(step): self._file(step, file_format) for step in steps}
            found = fastest_turns(files, threads, turns=_TURNS)
            for name, latency in found.items():
                width = int(name) / _STEPS
                self._progress(f"width {width:g}: {_ms(latency, file_format, threads)}")
            return list(found.values())

        return Staircase(self.counts, measure)

    @functools.cache  # noqa: B019
    def arenas(self) -> Staircase:
        """Bytes of the arena of the int8 file by width in thousandths."""

        def measure(steps: Sequence[int]) -> list[float]:
            return [self._arena(self._file(step, "int8")) for step in steps]

        return Staircase(self.counts, measure)

    @functools.cache  # noqa: B019
    def npu_seconds(self, target: str) -> Staircase:
        """Estimated seconds of an inference of the int8 file by width in thousandths."""

        def measure(steps: Sequence[int]) -> list[float]:
            return [self._seconds(self._file(step, "int8"), target) for step in steps]

        return Staircase(self.counts, measure)

    @functools.cache  # noqa: B019
    def _arena(self, path: Path) -> int:
        try:
            needed = arena.least_arena(path.read_bytes())
        except ValueError as error:
            raise ValueError(
                f"TensorFlow Lite Micro must run {self.backbone} for arena_bytes. Received: {error}"
            ) from None
        self._progress(f"{path.stem}: an arena of {needed:,} bytes")
        return needed

    @functools.cache  # noqa: B019
    def _seconds(self, path: Path, target: str) -> float:
        _, found = npu.compile_for(path.read_bytes(), target)
        speed = found["inferences_per_s"]
        self._progress(f"{path.stem}: {speed:,.1f} inferences/s on {target}")
        return 1 / speed

    def _file(self, step: int, file_format: str) -> Path:
        parameters, flops = self.counts(step)
        path = self._folder / f"{parameters}_{flops}_{file_format}.tflite"
        if not path.exists():
            path.write_bytes(tflite_file(self._student(step), file_format, self._batch_size))
        return path

    def _student(self, step: int) -> keras.Model:
        return probe_student(self.backbone, self._input_shape, self._num_classes, step / _STEPS)


def _widest(sizes: _Sizes, budget: Mapping[str, Any]) -> int:
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

    narrowest = first(lambda step: _can_be_built(sizes, step), 1, _STEPS)
    if not cheap(narrowest):
        raise _none_fits(sizes, budget, narrowest)
    step = first(lambda s: not cheap(s), narrowest, _STEPS + 1) - 1
    size = budget.get("int8_bytes", math.inf)
    if "int8_bytes" in budget and sizes.int8_bytes(step) > size:
        if sizes.int8_bytes(narrowest) > size:
            raise _none_fits(sizes, budget, narrowest)
        step = first(lambda s: sizes.int8_bytes(s) > size, narrowest, step) - 1
    limits: list[tuple[Staircase, float]] = []
    if "arena_bytes" in budget:
        limits.append((sizes.arenas(), budget["arena_bytes"]))
    if _TARGET in budget:
        limits.append((sizes.npu_seconds(budget[_TARGET]), 1 / budget["inferences_per_s"]))
    if "latency_ms" in budget and "exports" not in budget:
        limits.append((sizes.latencies(*_measured_with(budget)), budget["latency_ms"]))
    # A narrower network may cost more: what one limit leaves must be within all others again.
    settled = None
    while settled != step:
        settled = step
        for costs, limit in limits:
            fitting = costs.widest(narrowest, step, limit)
            if fitting is None:
                raise _none_fits(sizes, budget, narrowest)
            step = fitting
    return _widest_measured(sizes, budget, step) if "exports" in budget else step


def _widest_measured(sizes: _Sizes, budget: Mapping[str, Any], most: int) -> int:
    """The widest student, up to a step, that a device is fast enough for."""
    manifest = read_export(budget["exports"])
    device, (file_format, threads) = budget["device"], _measured_with(budget)
    found = {}
    for file in exported_files(manifest):
        width = file.student["width"]
        latency = median_ms(manifest, file, device, threads)
        if file.format != file_format or width is None or latency is None:
            continue
        step = round(width * _STEPS)
        if sizes.counts(step)[0] != file.student["parameters"]:
            raise ValueError(
                f"exports of a budget must be of {sizes.backbone}, with these images and classes. "
                f"Received: {budget['exports']}, whose {file.student['name']} has "
                f"{file.student['parameters']:,} parameters"
            )
        found[step] = latency
    if not found:
        raise ValueError(
            f"device of a budget must be one that oekd bench measured {file_format} on with "
            f"{threads} thread{'s'[: threads > 1]}, of {', '.join(manifest.get('devices', {}))}. "
            f"Received: {device!r}"
        )
    fitting = [s for s, latency in found.items() if latency <= budget["latency_ms"] and s <= most]
    if not fitting:
        measured = ", ".join(
            f"{latency:g} at width {step / _STEPS:g}" for step, latency in found.items()
        )
        raise ValueError(
            f"A budget must leave room for a student that was measured on {device}, of {measured} "
            f"ms. Received: {dict(budget)}"
        )
    return max(fitting)


def _can_be_built(sizes: _Sizes, step: int) -> bool:
    try:
        sizes.counts(step)
    except ValueError:
        return False
    return True


def _none_fits(sizes: _Sizes, budget: Mapping[str, Any], narrowest: int) -> ValueError:
    parameters, flops = sizes.counts(narrowest)
    full, _ = sizes.counts(_STEPS)
    more = f", {sizes.int8_bytes(narrowest):,} bytes in int8" if "int8_bytes" in budget else ""
    if "arena_bytes" in budget:
        more += f", an arena of {sizes.arenas().cost(narrowest):,.0f} bytes"
    if _TARGET in budget:
        speed = 1 / sizes.npu_seconds(budget[_TARGET]).cost(narrowest)
        more += f", {speed:,.1f} inferences/s on {budget[_TARGET]}"
    if "latency_ms" in budget:
        made = _measured_with(budget)
        more += f", {_ms(sizes.latencies(*made).cost(narrowest), *made)}"
    return ValueError(
        f"A budget must leave room for the narrowest student of {sizes.backbone}: {parameters:,} "
        f"parameters ({100 * (1 - parameters / full):.1f} % compressed), {flops:,} FLOPs{more}. "
        f"Received: {dict(budget)}"
    )


def _measured_with(budget: Mapping[str, Any]) -> tuple[str, int]:
    made = {**LATENCY_DEFAULTS, **budget}
    return made["format"], made["threads"]


def _ms(latency: float, file_format: str, threads: int) -> str:
    return f"{latency:.4g} ms in {file_format}, {threads} thread{'s'[: threads > 1]}"


def _described(budget: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {limit:,}" if name in UNITS else f"{name} {limit}"
        for name, limit in budget.items()
    )


def _check_budget(budget: Mapping[str, Any]) -> None:
    names = (*UNITS, *LATENCY_DEFAULTS, *_ELSEWHERE, _TARGET)
    valid = isinstance(budget, Mapping) and all(name in names for name in budget)
    limits = {unit: limit for unit, limit in budget.items() if unit in UNITS} if valid else {}
    for unit, limit in limits.items():
        number = isinstance(limit, int | float) and math.isfinite(limit)
        valid &= number and (0 <= limit < 100 if unit == "compression" else limit > 0)
    if not valid or not limits:
        raise ValueError(
            f"A budget must be a mapping from {', '.join(UNITS)} to a limit above 0, for "
            f"compression in % below 100. Received: {budget!r}"
        )
    if (_TARGET in budget) != ("inferences_per_s" in budget):
        raise ValueError(
            f"npu and inferences_per_s of a budget must stand together. Received: {budget!r}"
        )
    if budget.get(_TARGET, npu.TARGETS[0]) not in npu.TARGETS:
        raise ValueError(
            f"npu of a budget must be one of {', '.join(npu.TARGETS)}. "
            f"Received: {budget[_TARGET]!r}"
        )
    if not ("latency_ms" in budget or budget.keys() <= {*limits, _TARGET}):
        raise ValueError(
            "format, threads, exports and device of a budget must stand beside latency_ms. "
            f"Received: {budget!r}"
        )
    if not (budget.keys().isdisjoint(_ELSEWHERE) or budget.keys() >= set(_ELSEWHERE)):
        raise ValueError(
            f"exports and device of a budget must stand together. Received: {budget!r}"
        )
    file_format, threads = _measured_with(budget)
    if file_format not in tflite_formats():
        raise ValueError(
            f"format of a budget must be one of {', '.join(tflite_formats())}. "
            f"Received: {file_format!r}"
        )
    whole = isinstance(threads, int) and not isinstance(threads, bool)
    if not whole or not 1 <= threads <= _MOST_THREADS:
        raise ValueError(
            f"threads of a budget must be a whole number, at least 1. Received: {threads!r}"
        )
