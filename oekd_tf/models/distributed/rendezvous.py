"""Hosts wait for each other here, before TensorFlow connects them.

TensorFlow waits in native code that no signal reaches, for minutes, and says of a port in use that
a server could not be started. Here the others connect to the first host's port, which TensorFlow
takes afterwards: each sends one line, the first answers "wait" and, when all are there, "go".
"""

import contextlib
import json
import os
import selectors
import socket
import time
from collections.abc import Iterable
from typing import Any, NoReturn

from oekd_tf.core.errors import ConfigError, Preempted, WorkerLostError, one_line
from oekd_tf.core.signals import Interrupted, title
from oekd_tf.core.streams import complain
from oekd_tf.models.distributed.cluster import Cluster

# Until it is said who is waited for, and then again.
_SILENT_SECONDS = 10.0
_REMINDER_SECONDS = 60.0

# Time in which the first host answers; what does not is another program.
_ANSWER_SECONDS = 20.0

_LONGEST_LINE = 65536


def meet(cluster: Cluster, seconds: float = 600.0, answer_seconds: float = _ANSWER_SECONDS) -> None:
    """Waits until all hosts of a cluster are here.

    When a host cannot start or is stopped meanwhile, those that wait end with the same error.

    Args:
        cluster: The hosts.
        seconds: Longest time to wait.
        answer_seconds: Time in which the first host must answer a connection.

    Raises:
        ConfigError: A host's port is in use, or hosts have another `TF_CONFIG`.
        Preempted: Another host was stopped by a signal.
        WorkerLostError: Not all hosts came in time.

    Example:
        >>> meet(cluster.from_environment())
    """
    waiting = _Waiting(cluster, seconds)
    try:
        own = _own_port(cluster)
    except ConfigError as error:
        if not cluster.is_chief:
            with contextlib.suppress(OSError), _connected(cluster.workers[0], 0.5) as chief:
                _send(chief, {**_hello(cluster), "error": str(error)})
        raise
    with own:
        if cluster.is_chief:
            _gather(cluster, own, waiting)
        else:
            _join(cluster, waiting, answer_seconds)


class _Waiting:
    """How long is waited, and for whom, said once in a while."""

    def __init__(self, cluster: Cluster, seconds: float):
        self._workers = cluster.workers
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._next = time.monotonic() + _SILENT_SECONDS

    def go_on(self, absent: list[int]) -> None:
        names = ", ".join(f"worker {index} ({self._workers[index]})" for index in absent)
        now = time.monotonic()
        if now > self._end:
            raise WorkerLostError(
                f"All workers must start within {self._seconds:g} s. Received: none of {names}"
            )
        if now > self._next:
            complain(f"waiting for {names}")
            self._next = now + _REMINDER_SECONDS


def _gather(cluster: Cluster, own: socket.socket, waiting: _Waiting) -> None:
    """The first host: lets all others go when they are here."""
    absent = set(range(1, len(cluster.workers)))
    lines: list[_Line] = []
    there: dict[int, _Line] = {}
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as sockets:
        own.setblocking(False)
        selector.register(own, selectors.EVENT_READ)
        try:
            while absent:
                waiting.go_on(sorted(absent))
                for key, _ in selector.select(0.5):
                    if key.fileobj is own:
                        with contextlib.suppress(OSError):
                            one = sockets.enter_context(own.accept()[0])
                            one.settimeout(1)
                            lines.append(_Line(one))
                            selector.register(one, selectors.EVENT_READ, lines[-1])
                        continue
                    line: _Line = key.data
                    if line.read():
                        lines.remove(line)
                        selector.unregister(line.socket)
                        line.socket.close()
                        for gone in [index for index, other in there.items() if other is line]:
                            del there[gone]
                            absent.add(gone)
                        continue
                    said = line.take()
                    if said and (index := _greeted(cluster, said)) is not None:
                        there[index] = line
                        absent.discard(index)
                        _tell([line], {"oekd": "wait"})
        except (ConfigError, Preempted, WorkerLostError) as error:
            number = error.number if isinstance(error, Preempted) else None
            _tell(lines, {"oekd": "end", "error": str(error), "stopped": number})
            raise
        except KeyboardInterrupt as error:
            number = error.number if isinstance(error, Interrupted) else 2
            reason = f"stopped by {title(number)} on worker 0, before the first step"
            _tell(lines, {"oekd": "end", "error": reason, "stopped": number})
            raise
        _tell(there.values(), {"oekd": "go"})
        # They close first, so that the port is free for TensorFlow.
        for line in there.values():
            line.socket.settimeout(5)
            with contextlib.suppress(OSError):
                line.socket.recv(1)


def _join(cluster: Cluster, waiting: _Waiting, answer_seconds: float) -> None:
    """Another host: waits for the first one's "go"."""
    unanswered = None
    while True:
        waiting.go_on([0])
        try:
            chief = _connected(cluster.workers[0], 2)
        except OSError:
            time.sleep(0.3)
            continue
        unanswered = unanswered or time.monotonic()
        with chief:
            try:
                with contextlib.suppress(OSError):
                    _send(chief, _hello(cluster))
                line = _Line(chief)
                chief.settimeout(0.5)
                while not line.read():
                    waiting.go_on([0])
                    if (said := line.take()) is None:
                        if unanswered and time.monotonic() - unanswered > answer_seconds:
                            _refuse_other_program(cluster, "does not answer")
                    elif said.get("oekd") == "go":
                        return
                    elif said.get("oekd") == "end":
                        _end(str(said.get("error")), said.get("stopped"))
                    elif said.get("oekd") == "wait":
                        unanswered = None
                    else:
                        _refuse_other_program(cluster, "is another program's")
                if unanswered and time.monotonic() - unanswered > answer_seconds:
                    _refuse_other_program(cluster, "is another program's")
            except KeyboardInterrupt as error:
                number = error.number if isinstance(error, Interrupted) else 2
                with contextlib.suppress(OSError):
                    _send(chief, {**_hello(cluster), "stopped": number})
                raise
        time.sleep(0.3)


def _greeted(cluster: Cluster, said: dict[str, Any]) -> int | None:
    """Index of the host that said this; None if no host did."""
    index = said.get("oekd")
    if not isinstance(index, int) or not 0 < index < len(cluster.workers):
        return None
    if said.get("workers") != list(cluster.workers):
        raise ConfigError(
            "TF_CONFIG must name the same workers on all hosts. Received: "
            f"{', '.join(cluster.workers)} on worker 0, "
            f"{', '.join(map(str, said.get('workers') or []))} on worker {index}"
        )
    if (number := said.get("stopped")) is not None:
        _end(f"stopped by {title(number)} on worker {index}, before the first step", number)
    if error := said.get("error"):
        _end(str(error), None)
    return index


def _end(reason: str, number: int | None) -> NoReturn:
    if isinstance(number, int):
        raise Preempted(one_line(reason), number)
    raise ConfigError(one_line(reason))


def _refuse_other_program(cluster: Cluster, how: str) -> NoReturn:
    raise ConfigError(
        "TF_CONFIG must name a free port of each worker. Received: "
        f"{cluster.workers[0]} of worker 0, which {how}"
    )


def _own_port(cluster: Cluster) -> socket.socket:
    """Listens at this host's port, which nobody else has then."""
    address = cluster.workers[cluster.index]
    port = int(address.rpartition(":")[2])
    try:
        if socket.has_dualstack_ipv6():
            with contextlib.suppress(OSError):
                return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if number else error
        raise ConfigError(
            f"TF_CONFIG must name a free port of each worker. Received: {address} of worker "
            f"{cluster.index}: {one_line(reason)}"
        ) from None


def _connected(address: str, seconds: float) -> socket.socket:
    host, _, port = address.rpartition(":")
    one = socket.create_connection((host.strip("[]"), int(port)), seconds)
    if one.getsockname() == one.getpeername():
        # Where nobody listens yet, the system may have given this end the same port.
        one.close()
        raise ConnectionRefusedError(address)
    return one


def _hello(cluster: Cluster) -> dict[str, Any]:
    return {"oekd": cluster.index, "workers": list(cluster.workers)}


def _send(to: socket.socket, message: dict[str, Any]) -> None:
    to.sendall(json.dumps(message).encode() + b"\n")


def _tell(lines: Iterable["_Line"], message: dict[str, Any]) -> None:
    for line in lines:
        with contextlib.suppress(OSError):
            _send(line.socket, message)


class _Line:
    """The lines that come from a socket."""

    def __init__(self, of: socket.socket):
        self.socket = of
        self._read = b""

    def read(self) -> bool:
        """Reads what there is; whether there will be no more."""
        try:
            more = self.socket.recv(_LONGEST_LINE)
        except (TimeoutError, BlockingIOError):
            return False
        except OSError:
            return True
        self._read += more
        return not more or len(self._read) > _LONGEST_LINE

    def take(self) -> dict[str, Any] | None:
        """The next line, empty if it is none of ours; None if there is none yet."""
        line, end, rest = self._read.partition(b"\n")
        if not end:
            return None
        self._read = rest
        try:
            said = json.loads(line)
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}
