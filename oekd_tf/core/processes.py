"""Pools of processes that run modules of this package."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

_LIFELINE = "OEKD_TF_LIFELINE"


def end_with_parent() -> None:
    """Sends this process SIGTERM when the process of the pool that started it has ended.

    A worker whose parent was killed would train on, and hold its folder's lock. Without a pool
    nothing happens.
    """
    given = os.environ.pop(_LIFELINE, None)
    if given is None:
        return
    descriptor = int(given)
    os.set_inheritable(descriptor, False)

    def wait() -> None:
        with contextlib.suppress(OSError):
            os.read(descriptor, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


class PoolStoppedError(RuntimeError):
    """The pool was stopped, and starts no other process."""


class ProcessPool:
    """Starts modules as processes of this interpreter, and can stop them.

    Each has a process group of its own, so that the terminal's Ctrl-C is this process's alone.
    When this process ends, however it ends, those that call `end_with_parent` end too. May be used
    from several threads and from a signal's handler.

    Example:
        >>> pool = ProcessPool()
        >>> process = pool.start("oekd_tf.export.worker", stdin=subprocess.PIPE, text=True)
        >>> pool.stop()
    """

    def __init__(self) -> None:
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.RLock()  # A signal's handler may come while it is held.
        self.stopped = False
        # Nothing is written: that this process has ended is seen by the pipe's end.
        self._watched, self._lifeline = os.pipe()

    def __del__(self) -> None:
        for descriptor in (self._watched, self._lifeline):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def start(
        self,
        module: str,
        *arguments: str,
        variables: Mapping[str, str] | None = None,
        **options: Any,
    ) -> subprocess.Popen:
        """Starts `python -m module arguments`, with this process's import path.

        Args:
            module: Name of the module.
            *arguments: Command line of the module.
            variables: Environment variables that differ from this process's.
            **options: Other arguments of `subprocess.Popen`.

        Returns:
            The process.

        Raises:
            PoolStoppedError: The pool was stopped.
        """
        if sys.stdout is not None:
            sys.stdout.flush()
        with self._lock:
            if self.stopped:
                raise PoolStoppedError(f"{module} was not begun")
            paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env={
                    **os.environ,
                    "PYTHONPATH": paths,
                    _LIFELINE: str(self._watched),
                    **(variables or {}),
                },
                process_group=0,
                pass_fds=(self._watched,),
                **options,
            )
            self._running.add(process)
            return process

    def wait(self, process: subprocess.Popen) -> int:
        """Waits for a process to end, whatever happens meanwhile.

        Args:
            process: The process, from `start`.

        Returns:
            Exit code of the process.
        """
        try:
            return process.wait()
        finally:
            self.kill(process)

    def kill(self, process: subprocess.Popen) -> None:
        """Ends a process at once, if it still runs."""
        if process.poll() is None:
            process.kill()
            process.wait()
        self._running.discard(process)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends all that run, and lets no other begin.

        Args:
            number: The signal; after SIGTERM a run leaves a checkpoint.
        """
        with self._lock:
            self.stopped = True
            for process in self._running.copy():
                process.send_signal(number)
