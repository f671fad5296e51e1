"""Workers of a study: one process a run, stopped when the study is."""

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

# What a shell and a scheduler see of a process that SIGTERM ended.
EXIT_CODE = 128 + signal.SIGTERM


class WorkerError(ValueError):
    """A worker did not end well; what it said stands above."""


class Stopped(SystemExit):
    """The study was stopped; the same command goes on with it. The exit code is 143."""

    def __init__(self, what: str):
        super().__init__(EXIT_CODE)
        self.message = f"stopped in {what}; the same command goes on from there"


class Workers:
    """Starts worker processes, one at a time, and hands SIGTERM on to the one that runs.

    A process a run, because TensorFlow keeps every graph that it has traced.

    Example:
        >>> workers = Workers()
        >>> with workers.listening():
        ...     workers.run("seed 0, ensemble", "oekd_tf.comparison.worker", "--workdir=runs/a")
    """

    def __init__(self):
        self._process: subprocess.Popen | None = None
        self._asked = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Takes SIGTERM and Ctrl-C while the block runs; nothing in a thread, which gets none."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGTERM, signal.SIGINT)
        previous = [signal.signal(number, self._stop) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, previous, strict=True):
                signal.signal(number, handler)

    def run(self, what: str, module: str, *arguments: str) -> None:
        """Runs a module as a process whose output is the user's.

        Args:
            what: It does, for messages.
            module: As of `python -m`.
            *arguments: Of its command line.

        Raises:
            Stopped: The study was asked to stop, or the worker was.
            WorkerError: The worker failed.
        """
        if self._asked:
            raise Stopped(what)
        sys.stdout.flush()
        # In a group of its own a worker is not hit by the terminal's Ctrl-C: it gets SIGTERM from
        # here, and leaves a checkpoint.
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], process_group=0
        )
        try:
            if self._asked:
                self._process.terminate()
            code = self._process.wait()
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._asked or code == EXIT_CODE:
            raise Stopped(what)
        if code < 0:
            raise WorkerError(
                f"A run must end by itself: {what}. "
                f"Received: killed by {signal.Signals(-code).name}"
            )
        if code:
            raise WorkerError(
                f"A run must end well: {what}; its error is above. Received: exit code {code}"
            )

    def _stop(self, *_: Any) -> None:
        self._asked = True
        if self._process:
            self._process.terminate()
