"""Latency of TFLite files, measured in turns so that a slow phase affects all alike."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from oekd_tf.core.machine import available_cores
from oekd_tf.device.tflite_model import TfliteModel

# Number of turns of each file, and of warm-up runs in each turn.
_TURNS = 10
_WARM_UP = 2
_TURN_SECONDS = 0.05


class Latency(NamedTuple):
    """Latency of one file with one number of threads.

    Attributes:
        median_ms: Median of the runs, in milliseconds.
        p90_ms: 90th percentile of the runs, in milliseconds.
        runs: Number of runs that were timed.
    """

    median_ms: float
    p90_ms: float
    runs: int


def measure(
    models: Mapping[str, Path],
    threads: Sequence[int],
    runs: int = 50,
    progress: Callable[[str], None] = print,
) -> dict[str, dict[int, Latency]]:
    """Measures the latency of every file with every number of threads, in turns.

    A file is opened in each turn, so that large ones are not in memory together. Only inference is
    timed, on a random image of a fixed seed, without opening the file, resizing or quantizing the
    image.

    Args:
        models: Paths of TFLite files, by a name for each.
        threads: Numbers of threads.
        runs: Number of timed runs of each file.
        progress: Called with a message for each turn.

    Returns:
        Latencies by name and number of threads.

    Example:
        >>> measure({"a": Path("a.tflite")}, [1, 2])["a"][2].median_ms
    """
    seconds: dict[tuple[str, int], list[float]] = {
        (name, count): [] for name in models for count in threads
    }
    turns = min(_TURNS, runs)
    for turn in range(turns):
        share = runs * (turn + 1) // turns - runs * turn // turns
        for name, count in seconds:
            seconds[name, count] += _turn(models[name], count, share)
        done = runs * (turn + 1) // turns
        progress(f"turn {turn + 1} of {turns}: {done} of {runs} runs of {len(models)} files")
    results: dict[str, dict[int, Latency]] = {name: {} for name in models}
    for (name, count), times in seconds.items():
        results[name][count] = summarize(times)
    return results


def fastest_turns(
    models: Mapping[str, Path], threads: int = 1, turns: int = _TURNS
) -> dict[str, float]:
    """The median run of each file's fastest turn, to tell files apart on a machine that is busy.

    What else a machine does adds time to a turn, and hardly ever takes some: the fastest turn's
    median is the latency on a machine that does nothing else, where it is the one of `measure`.

    Args:
        models: Paths of TFLite files, by a name for each.
        threads: Number of threads.
        turns: Number of turns of each file, one after another.

    Returns:
        Milliseconds by name.

    Example:
        >>> fastest_turns({"a": Path("a.tflite")})["a"]
    """
    # Of some tens of milliseconds, but not of more runs than a median needs.
    runs = {
        name: max(3, min(25, int(_TURN_SECONDS / max(_turn(model, threads, 1)[0], 1e-6))))
        for name, model in models.items()
    }
    medians: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(turns):
        for name, model in models.items():
            medians[name].append(statistics.median(_turn(model, threads, runs[name])))
    return {name: 1e3 * min(found) for name, found in medians.items()}


def summarize(seconds: Sequence[float]) -> Latency:
    """Median and 90th percentile of some runs."""
    median = statistics.median(seconds)
    # The nearest rank, without interpolation.
    p90 = sorted(seconds)[-(-9 * len(seconds) // 10) - 1]
    return Latency(round(1e3 * median, 4), round(1e3 * p90, 4), len(seconds))


def thread_counts(cores: int | None = None) -> list[int]:
    """Powers of two up to the number of cores, and that number; the process's own if None."""
    cores = cores or available_cores()
    counts = [1]
    while counts[-1] * 2 <= cores:
        counts.append(counts[-1] * 2)
    return counts if counts[-1] == cores else [*counts, cores]


def _turn(path: Path, threads: int, runs: int) -> list[float]:
    model = TfliteModel(path, threads)
    shape = (model.batch_size or 1, *model.image_shape)
    model.load(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    seconds = []
    for run in range(_WARM_UP + runs):
        start = time.perf_counter()
        model.invoke()
        if run >= _WARM_UP:
            seconds.append(time.perf_counter() - start)
    return seconds
