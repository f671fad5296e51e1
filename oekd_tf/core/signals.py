"""Ends of a process by a signal: one line for people, an exit code for programs."""

import atexit
import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

from oekd_tf.core.native_output import error_descriptor

# What a command ends by: Ctrl-C, and what schedulers and `kill` send.
_ENDING = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A command was ended by a signal.

    Python's own KeyboardInterrupt, once raised in a text that is executed, as classes of
    `dataclasses` and `namedtuple` are, ends the process without the exit code that it was given.

    Attributes:
        number: The signal.
    """

    def __init__(self, number: int):
        super().__init__()
        self.number = number


# Seconds in which a command cleans up, before it is interrupted again.
_PATIENCE_SECONDS = 2.0

# Seconds after which a command that was interrupted ends in any case.
_LEAVING_SECONDS = 10.0

# Numbers of blocks that run now, of `importing` and of `one_line_on_signals`.
_importing = 0
_commands = 0

# Whether the process is a command of this package, and nothing else.
_is_ours = False

# Exit code of the process, once a signal has ended its command.
_code: int | None = None


def exit_code(number: int) -> int:
    """What a shell and a scheduler see of a process that a signal ended."""
    return 128 + number


def title(number: int) -> str:
    """A signal as a user knows it.

    Example:
        >>> title(signal.SIGINT)
        'Ctrl-C'
    """
    if number == signal.SIGPIPE:
        return "a closed pipe of its output"
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def end_at_once(message: str, number: int = signal.SIGINT) -> NoReturn:
    """Ends the process in a signal's handler, without any cleaning up.

    Args:
        message: The line to say.
        number: The signal.
    """
    # What is being written is not to be written to again.
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.write(error_descriptor(), f"{message}\n".encode())
    os._exit(exit_code(number))


def in_command() -> bool:
    """Whether this process is a command, whose end is the end of `one_line_on_signals`."""
    return _commands > 0


def start_of_command() -> None:
    """Ends the process at once by Ctrl-C or SIGTERM, until `one_line_on_signals`.

    For the imports of a command, in which there is nothing to lose yet. Does nothing in a process
    that is no command of this package.
    """
    global _is_ours
    words = sys.orig_argv
    module = words[words.index("-m") + 1 :][:1] if "-m" in words else []
    # "-m" is what Python calls a process while it looks for what is to be run.
    ours = sys.argv[:1] == ["-m"] and [name.partition(".")[0] for name in module] == ["oekd_tf"]
    if not (ours or (sys.argv and re.fullmatch(r"(.*/)?oekd(-\w+)*", sys.argv[0]))):
        return
    for number in _handled():
        signal.signal(number, _end_start)
    # The first to be registered is the last to be called.
    atexit.register(_leave)
    _is_ours = True


def _leave() -> None:
    if _code is not None:
        # The end of Python frees what threads of libraries still use, and crashes.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(_code)


def _end_start(number: int, _: FrameType | None) -> NoReturn:
    end_at_once(f"stopped by {title(number)}", number)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Lets a signal end the process at once while the block imports a library.

    Libraries take seconds, catch what is raised in them, or end the process by another code.
    """
    global _importing
    _importing += 1
    try:
        yield
    finally:
        _importing -= 1


@contextlib.contextmanager
def one_line_on_signals() -> Iterator[None]:
    """Turns Ctrl-C and SIGTERM into one line and exit code 130 or 143, after cleaning up.

    A second Ctrl-C ends the process at once. Signals that the process was started to ignore are
    ignored; within a block of this kind, another does nothing.

    Example:
        >>> with one_line_on_signals():
        ...     main()
    """
    global _commands, _code
    if _commands:
        yield
        return
    numbers = _handled()
    command = _Command(sys.unraisablehook, sys.excepthook)
    before = [signal.signal(number, command.handle) for number in numbers]
    sys.unraisablehook, sys.excepthook = command.unraisable, command.printed
    _commands += 1
    try:
        yield
        if command.received is not None:
            # It was caught on the way, and what was left to do is done.
            raise Interrupted(command.received)
    except BaseException as error:
        command.arrived()
        # Libraries raise errors of their own from ours.
        if command.received is None and not isinstance(error, KeyboardInterrupt):
            if isinstance(error, SystemExit) and isinstance(error.code, int):
                _code = error.code if error.code > exit_code(0) else None
            raise
        number = command.received = command.received or signal.SIGINT
        with contextlib.suppress(OSError, AttributeError):
            print(f"stopped by {title(number)}", file=sys.stderr, flush=True)
        _code = exit_code(number)
        if _is_ours:
            # Threads of libraries are waited for, and some never end.
            leaving = threading.Timer(_LEAVING_SECONDS, _leave)
            leaving.daemon = True
            leaving.start()
        raise SystemExit(_code) from None
    finally:
        command.arrived()
        _commands -= 1
        sys.unraisablehook, sys.excepthook = command.unraisable_hook, command.printed_hook
        # Threads and children are waited for at the end, where a traceback helps nobody.
        if command.received is None:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)


class _Command:
    """Handles the signals of a command.

    Args:
        unraisable_hook: What else is done with errors that cannot be raised.
        printed_hook: What else is done with errors that native code prints, not raises.

    Attributes:
        received: The signal that ends the command; None before.
    """

    def __init__(self, unraisable_hook: Callable[[Any], Any], printed_hook: Callable[..., Any]):
        self.unraisable_hook = unraisable_hook
        self.printed_hook = printed_hook
        self.received: int | None = None
        self._again = False
        self._timer: threading.Timer | None = None

    def handle(self, number: int, _: FrameType | None) -> None:
        if self.received is not None and not self._again:
            if number == signal.SIGINT:
                end_at_once("stopped at once by a second Ctrl-C")
            return
        if _importing:
            _end_start(number, None)
        self.received, self._again = number, False
        # Libraries catch what is raised in them, now and then: TFDS's decorators in native code.
        self._raise_again_after(_PATIENCE_SECONDS)
        raise Interrupted(number)

    def unraisable(self, error: Any) -> None:
        if issubclass(error.exc_type, Interrupted):
            # It was raised where nothing can be, such as in a `__del__`.
            self._raise_again_after(0.05)
        else:
            self.unraisable_hook(error)

    def printed(self, kind: type[BaseException], *error: Any) -> None:
        if self.received is None:
            self.printed_hook(kind, *error)
        else:
            # Ours, or what native code made of it: an import that ended with an error set.
            self._raise_again_after(0.05)

    def arrived(self) -> None:
        """What was raised has been seen: it need not be raised again."""
        if self._timer is not None:
            self._timer.cancel()

    def _raise_again_after(self, seconds: float) -> None:
        self.arrived()
        self._timer = threading.Timer(seconds, self._raise_again)
        self._timer.daemon = True
        self._timer.start()

    def _raise_again(self) -> None:
        if self.received is not None:
            self._again = True
            signal.pthread_kill(threading.main_thread().ident or 0, self.received)


def _handled() -> list[signal.Signals]:
    """The signals that end a command, and that nobody handles yet."""
    if threading.current_thread() is not threading.main_thread():
        return []
    free = (signal.SIG_DFL, signal.default_int_handler, _end_start)
    return [number for number in _ENDING if signal.getsignal(number) in free]
