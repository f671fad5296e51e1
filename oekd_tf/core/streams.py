"""Standard streams that are closed, full, or read by nobody."""

import contextlib
import errno
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

from oekd_tf.core.signals import exit_code
from oekd_tf.core.text import visible

_UNWRITABLE = "error: the output must be writable. Received: {}"

# Whether a command is within `guarded` already.
_is_guarded = False

# Called when who reads the output is gone; None where nothing can be saved before the end.
_when_unread: Callable[[], Any] | None = None


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Ends a command whose output nobody takes by an exit code, and one line at most.

    A pipe that is closed, as by `head`, is exit code 141 without a line, as SIGPIPE is to other
    programs; a full disk is one line and exit code 1; to a stream that was closed before the start
    nothing is written.

    Example:
        >>> with guarded():
        ...     print("a result")
    """
    global _is_guarded
    if _is_guarded:
        yield
        return
    _open_closed()
    _is_guarded = True
    try:
        yield
        _flush()
    except BrokenPipeError as error:
        if not _is_unread():
            raise SystemExit(f"error: {error}") from None
        _hush()
        raise SystemExit(exit_code(signal.SIGPIPE)) from None
    except OSError as error:
        # Errors of other files have been said by who opened them.
        _hush()
        raise SystemExit(_UNWRITABLE.format(error)) from None
    except SystemExit as stop:
        _flush(final=stop.code not in (0, None))
        raise
    finally:
        _is_guarded = False


@contextlib.contextmanager
def saving_when_unread(save: Callable[[], Any]) -> Iterator[None]:
    """Has `say` call a function when who reads the output is gone, in place of an error.

    Args:
        save: Called once; it may raise.
    """
    global _when_unread
    before, _when_unread = _when_unread, save
    try:
        yield
    finally:
        _when_unread = before


def say(line: str) -> None:
    """Prints a line of progress at once.

    Args:
        line: The line, or lines; names in it cannot steer the terminal.

    Raises:
        BrokenPipeError: Nobody reads it, and nothing is to be saved before the end.
    """
    try:
        print(visible(line), flush=True)
    except BrokenPipeError:
        if _when_unread is None:
            raise
        _hush()
        _when_unread()


def complain(line: str) -> None:
    """Prints a line on the error stream, where there is one."""
    with contextlib.suppress(OSError, AttributeError):
        print(line, file=sys.stderr, flush=True)


def _open_closed() -> None:
    # Else the next file that is opened would get what libraries print.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115


def _flush(final: bool = False) -> None:
    """Writes what is still to be written.

    Args:
        final: Whether the command has failed already: then nothing else is said.

    Raises:
        SystemExit: The output cannot be written.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        _hush()
        if final:
            return
        if error.errno == errno.EPIPE:
            raise SystemExit(exit_code(signal.SIGPIPE)) from None
        raise SystemExit(_UNWRITABLE.format(error)) from None
    except ValueError:
        # Closed by someone else.
        return


def _hush() -> None:
    """Discards what is in the buffer of the output, and what follows."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)


def _is_unread() -> bool:
    """Whether the output or the error stream is a pipe that nobody reads."""
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
