"""How long TFLite files take, measured so that a slow minute of the machine hits all alike."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from oekd_tf.core.machine import available_cores
from oekd_tf.device.tflite_model import TfliteModel

# How often each file has its turn, and what it runs first in each, untimed.
_TURNS = 10
_WARM_UP = 2


class Latency(NamedTuple):
    """Of one file with one number of threads.

    Attributes:
        median_ms: Half of the runs took no longer.
        p90_ms: Nine in ten took no longer.
        runs: How many were timed.
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
    """Times every file with every number of threads, in turns.

    A file is opened anew for each turn: many large ones are never in memory together. What is
    timed is the network alone, on a random image of a fixed seed, without opening the file,
    resizing or quantizing the image.

    Args:
        models: TFLite files by a name of their own.
        threads: Numbers of threads.
        runs: How often to time each.
        progress: Receives a line a turn.

    Returns:
        By name and number of threads.

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


def summarize(seconds: Sequence[float]) -> Latency:
    """Median and ninetieth percentile of some runs."""
    median = statistics.median(seconds)
    # The smallest time that nine in ten do not exceed, rather than one between two.
    p90 = sorted(seconds)[-(-9 * len(seconds) // 10) - 1]
    return Latency(round(1e3 * median, 4), round(1e3 * p90, 4), len(seconds))


def thread_counts(cores: int | None = None) -> list[int]:
    """1, 2, 4 and so on, up to the cores that this process may use."""
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
