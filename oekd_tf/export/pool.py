"""Runs export jobs, here or in processes of their own."""

import contextlib
import json
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras

from oekd_tf.core.machine import available_cores
from oekd_tf.core.processes import PoolStoppedError, ProcessPool
from oekd_tf.export.run_one import Job
from oekd_tf.export.worker import Answer, answer

# A process starts in some six seconds; in these a hundred layers are converted ten times.
_LAYERS_THAT_PAY = 2000
# Each takes a gigabyte or two.
_MOST = 8


class Workers:
    """Takes jobs, gives futures of their answers.

    Args:
        processes: Number of processes; 0 runs each job here, at once.

    Example:
        >>> with Workers(2) as workers:
        ...     futures = [workers.submit(job) for job in jobs]
    """

    def __init__(self, processes: int):
        self._processes = processes
        self._threads = ThreadPoolExecutor(max(processes, 1))
        self._own = threading.local()
        self._pool = ProcessPool()
        self._started: list[_Process] = []

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is not None:
            # What waits is not begun, and what runs is not waited for.
            self._pool.stop(signal.SIGKILL)
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._stop()
        self._threads.shutdown()
        self._stop()

    def submit(self, job: Job) -> Future[Answer]:
        """Runs a job as soon as a process is free.

        Args:
            job: What to make.

        Returns:
            The answer to come.
        """
        if self._processes:
            return self._threads.submit(self._run, job)
        future: Future[Answer] = Future()
        future.set_result(answer(job))
        return future

    def _run(self, job: Job) -> Answer:
        # One process a thread, started when it has its first job.
        process = getattr(self._own, "process", None)
        if process is None or not process.alive:
            try:
                process = self._own.process = _Process(self._pool)
            except PoolStoppedError:
                return {"refused": f"{job.name} was not begun"}
            self._started.append(process)
        return process.run(job)

    def _stop(self) -> None:
        while self._started:
            self._started.pop().stop()


class _Process:
    def __init__(self, pool: ProcessPool):
        self._pool = pool
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `stop`)
        self._process = pool.start(
            "oekd_tf.export.worker",
            # Conversion runs on the processor; the GPU's memory is the parent's.
            variables={"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            text=True,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._given, self._taken = self._process.stdin, self._process.stdout

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def run(self, job: Job) -> Answer:
        with contextlib.suppress(BrokenPipeError):
            self._given.write(json.dumps(job) + "\n")
            self._given.flush()
        line = self._taken.readline()
        if line.endswith("\n"):
            return json.loads(line)
        code = self._process.wait()
        last = list(self._lines())[-1:] or ["nothing"]
        return {
            "refused": f"The converter crashed on {job.name} (exit code {code}). "
            f"Last output: {last[0][:300]}"
        }

    def stop(self) -> None:
        self._pool.kill(self._process)
        for stream in (self._given, self._taken):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        self._messages.close()

    def _lines(self) -> Iterator[str]:
        self._messages.seek(0)
        for line in self._messages.read().decode(errors="replace").splitlines():
            if line.strip():
                yield line.strip()


def sensible_processes(files: int, student: keras.Model) -> int:
    """How many processes pay: none where the conversions take less time than starting TensorFlow.

    Args:
        files: Number of files to write.
        student: The largest student, a functional model.

    Returns:
        The number; 0 for this process alone.

    Example:
        >>> sensible_processes(3, student)
        0
    """
    if files * len(student.layers) < _LAYERS_THAT_PAY:
        return 0
    return min(available_cores(), files, _MOST)
