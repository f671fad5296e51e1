"""Worker processes of a study, one for each run."""

import contextlib
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

from oekd_tf.core.errors import EXIT_CODE, Stopped, WorkerError
from oekd_tf.core.processes import PoolStoppedError, ProcessPool
from oekd_tf.core.signals import end_at_once


class Workers:
    """Starts worker processes and forwards SIGTERM to them.

    Each run has a process, because TensorFlow keeps every graph that it has traced. `run` may be
    called from several threads at once.

    Args:
        log: Called with each line of output of workers that share the terminal.

    Example:
        >>> workers = Workers()
        >>> with workers.listening():
        ...     workers.run("seed 0, ensemble", "oekd_tf.cli.workers.study_run", "--workdir=runs/a")
    """

    def __init__(self, log: Callable[[str], None] = print):
        self._log = log
        self._pool = ProcessPool()
        self._number: int = signal.SIGTERM

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Stops on SIGTERM, Ctrl-C and SIGHUP while the block runs; does nothing in a thread.

        A second Ctrl-C ends everything at once.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        previous = [signal.signal(number, self._ask) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, previous, strict=True):
                signal.signal(number, handler)

    def run(self, what: str, module: str, *arguments: str, shared: bool = False) -> None:
        """Runs a module in a process and shows its output.

        Args:
            what: Description of the work, for messages.
            module: Name of the module, as for `python -m`.
            *arguments: Command line of the module.
            shared: Whether other workers run at the same time; lines of output then begin with
                the description.

        Raises:
            Stopped: The study or the worker was stopped.
            WorkerError: The worker failed.
        """
        # The worker gets SIGTERM from here, and leaves a checkpoint.
        try:
            process = self._pool.start(
                module, *arguments, text=True,
                stdout=subprocess.PIPE if shared else None,
                stderr=subprocess.STDOUT if shared else None,
            )  # fmt: skip
        except PoolStoppedError:
            raise Stopped(what, self._number) from None
        try:
            for line in process.stdout or ():
                self._log(f"[{what}] {line.rstrip()}")
            code = self._pool.wait(process)
        finally:
            self._pool.kill(process)
        if self._pool.stopped or code == EXIT_CODE:
            raise Stopped(what, self._number)
        if code < 0:
            raise WorkerError(f"{what}: killed by {signal.Signals(-code).name}")
        if code:
            raise WorkerError(f"{what}: its error is above; exit code {code}")

    def _ask(self, number: int, _: Any) -> None:
        if self._pool.stopped and number == signal.SIGINT:
            self._pool.stop(signal.SIGKILL)
            end_at_once(
                "stopped at once by a second Ctrl-C; run the same command again to resume from "
                "the checkpoints before"
            )
        self._number = number
        self.stop()

    def stop(self) -> None:
        """Ends all running workers and starts no others."""
        self._pool.stop()
