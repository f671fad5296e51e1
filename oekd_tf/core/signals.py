"""Ends of a process by a signal: one line for people, an exit code for programs."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn


def exit_code(number: int) -> int:
    """What a shell and a scheduler see of a process that a signal ended."""
    return 128 + number


def title(number: int) -> str:
    """A signal as a user knows it.

    Example:
        >>> title(signal.SIGINT)
        'Ctrl-C'
    """
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def end_at_once(message: str) -> NoReturn:
    """Ends the process in a handler of Ctrl-C, without any cleaning up.

    Args:
        message: The line to say.
    """
    # What is being written is not to be written to again.
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    os.write(2, f"{message}\n".encode())
    os._exit(exit_code(signal.SIGINT))


@contextlib.contextmanager
def one_line_on_ctrl_c() -> Iterator[None]:
    """Turns Ctrl-C into one line and exit code 130; a second one ends the process at once.

    Example:
        >>> with one_line_on_ctrl_c():
        ...     main()
    """
    try:
        yield
    except KeyboardInterrupt:
        if threading.current_thread() is threading.main_thread():
            # Threads and children are waited for at the end, where a traceback helps nobody.
            signal.signal(
                signal.SIGINT, lambda *_: end_at_once("stopped at once by a second Ctrl-C")
            )
        print("stopped by Ctrl-C", file=sys.stderr)
        raise SystemExit(exit_code(signal.SIGINT)) from None
