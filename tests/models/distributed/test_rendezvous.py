"""Hosts that wait for each other, over real sockets, without TensorFlow."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import small_runs
from test_multi_worker import free_ports, tf_config

from oekd_tf.core.errors import ConfigError, WorkerLostError
from oekd_tf.models.distributed.cluster import Cluster
from oekd_tf.models.distributed.rendezvous import meet


def _meet_all(ports, seconds=5.0, indices=None, answer_seconds=0.5, late=0.0):
    """What each host's wait ends with: None, or its error."""
    workers = tuple(f"127.0.0.1:{port}" for port in ports)
    indices = range(len(ports)) if indices is None else indices
    ends = {}

    def one(index):
        time.sleep(late * index if late > 0 else -late * (index == 1))
        try:
            own = seconds[index] if isinstance(seconds, dict) else seconds
            ends[index] = meet(Cluster(workers, index), own, answer_seconds)
        except (ConfigError, WorkerLostError) as error:
            ends[index] = error

    threads = [threading.Thread(target=one, args=(index,)) for index in indices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return ends


def test_all_go_when_the_last_is_there():
    ports = free_ports(3)
    start = time.monotonic()
    assert _meet_all(ports, late=0.3) == {0: None, 1: None, 2: None}
    assert time.monotonic() - start > 0.6
    # TensorFlow's server can have every port now.
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()
    assert _meet_all(ports) == {0: None, 1: None, 2: None}


def test_one_that_does_not_come():
    ports = free_ports(3)
    # The first host's clock ends first: by equal ones the other may have gone before it tells.
    ends = _meet_all(ports, seconds={0: 3.0, 2: 20.0}, indices=[0, 2])
    line = f"All workers must start within 3 s. Received: none of worker 1 (127.0.0.1:{ports[1]})"
    assert [str(ends[0]), str(ends[2])] == [line, line]


def test_a_port_in_use_ends_all():
    ports = free_ports(3)
    with socket.create_server(("", ports[1])):
        start = time.monotonic()
        ends = _meet_all(ports, late=-0.3)
        assert time.monotonic() - start < 4
    line = (
        "TF_CONFIG must name a free port of each worker. Received: "
        f"127.0.0.1:{ports[1]} of worker 1: Address already in use"
    )
    assert {str(end) for end in ends.values()} == {line}
    assert all(isinstance(end, ConfigError) for end in ends.values())


@pytest.mark.parametrize("answer", [None, b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_the_first_hosts_port_is_another_programs(answer):
    ports = free_ports(2)
    with socket.create_server(("", ports[0])) as other:

        def serve():
            with contextlib.suppress(OSError):
                connection = other.accept()[0]
                if answer:
                    connection.sendall(answer)
                time.sleep(2)

        threading.Thread(target=serve, daemon=True).start()
        ends = _meet_all(ports)
    assert str(ends[0]).endswith(f"127.0.0.1:{ports[0]} of worker 0: Address already in use")
    how = "is another program's" if answer else "does not answer"
    assert str(ends[1]).endswith(f"Received: 127.0.0.1:{ports[0]} of worker 0, which {how}")


def test_hosts_of_another_cluster():
    ports = free_ports(3)
    first = [f"127.0.0.1:{port}" for port in ports[:2]]
    ends = []

    def one(workers, index):
        with pytest.raises(ConfigError, match="the same workers on all hosts") as error:
            meet(Cluster(tuple(workers), index), 5.0)
        ends.append(str(error.value))

    other = threading.Thread(target=one, args=([first[0], f"127.0.0.1:{ports[2]}"], 1))
    other.start()
    one(first, 0)
    other.join(10)
    assert len(ends) == 2
    assert len(set(ends)) == 1


WAITING = """
from oekd_tf.core.signals import one_line_on_signals
from oekd_tf.models.distributed import cluster, rendezvous

rendezvous._SILENT_SECONDS = 0.1
with one_line_on_signals():
    try:
        rendezvous.meet(cluster.from_environment())
    except SystemExit as stop:
        print(stop)
        raise
"""


@pytest.mark.integration
@pytest.mark.parametrize(("stopped", "number"), [(0, signal.SIGTERM), (1, signal.SIGINT)])
def test_a_signal_ends_those_that_wait(stopped, number):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    ports = free_ports(3)
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", WAITING], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=small_runs.environment(TF_CONFIG=tf_config(ports, index)),
        )
        for index in (0, 1)
    ]  # fmt: skip
    signal.signal(signal.SIGINT, before)
    try:
        waited = [host.stderr.readline() for host in hosts]
        assert waited[0].startswith("waiting for worker ")
        assert waited[1] == f"waiting for worker 0 (127.0.0.1:{ports[0]})\n" or not waited[1]
        time.sleep(0.5)
        hosts[stopped].send_signal(number)
        ends = [host.communicate(timeout=10) for host in hosts]
    finally:
        for host in hosts:
            host.kill()
    assert [host.returncode for host in hosts] == [128 + number] * 2
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    assert ends[stopped][1].splitlines()[-1] == f"stopped by {name}"
    reason = f"stopped by {name} on worker {stopped}, before the first step\n"
    assert ends[1 - stopped][0] == reason


def test_what_is_no_host_is_let_be():
    ports = free_ports(2)
    answers = {}

    def knock():
        for content in (b"", b"GET / HTTP/1.1\r\n\r\n", b"7\n", json.dumps({"oekd": 9}).encode()):
            for _ in range(50):
                with contextlib.suppress(ConnectionError):
                    with socket.create_connection(("127.0.0.1", ports[0])) as one:
                        one.sendall(content)
                    break
                time.sleep(0.05)
        answers.update(_meet_all(ports, indices=[1]))

    thread = threading.Thread(target=knock)
    thread.start()
    assert _meet_all(ports, indices=[0]) == {0: None}
    thread.join(10)
    assert answers == {1: None}
