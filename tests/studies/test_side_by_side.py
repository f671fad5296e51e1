"""Runs of a study at once: what begins when, and what a failure does."""

import os
import threading

import pytest

from oekd_tf import config as config_module
from oekd_tf.core.errors import ConfigError, WorkerError
from oekd_tf.studies.plan import plan
from oekd_tf.studies.scheduler import shares_of_cores, train_all


@pytest.fixture
def runs():
    config = config_module.default_config()
    config.ensemble.widths = (1.0, 0.5)
    return plan(config, 2, offline=[2])


def run_all(runs, train, processes=2, stop=lambda: None):
    trained, failed = [], {}
    shares = [[number] for number in range(processes)]
    train_all(
        runs, train, trained.append, lambda run, error: failed.update({run.key: str(error)}),
        shares, stop,
    )  # fmt: skip
    return [run.key for run in trained], failed


def test_cores_are_shared_out():
    cores = sorted(os.sched_getaffinity(0))
    assert shares_of_cores(1) == [cores]
    shares = shares_of_cores(len(cores))
    assert sorted(core for share in shares for core in share) == cores
    for processes in (0, len(cores) + 1):
        with pytest.raises(ConfigError, match=rf"--processes must be .*Received: {processes}"):
            shares_of_cores(processes)


def test_as_many_at_once_as_there_are_shares(runs):
    lock, busy, most = threading.Lock(), set(), []
    both = threading.Barrier(2, timeout=30)

    def train(run, cores):
        with lock:
            assert not busy & set(cores), "two runs on one core"
            busy.update(cores)
            most.append(len(busy))
        if run.method == "ensemble":
            both.wait()  # Only two at once get past it.
        with lock:
            busy.difference_update(cores)

    trained, failed = run_all(runs, train)
    assert not failed
    assert set(trained) == {run.key for run in runs}
    assert max(most) == 2


def test_a_run_waits_for_the_one_it_needs(runs):
    done = []
    ready = threading.Event()

    def train(run, cores):
        if run.key == ("alone", 0, 1):
            ready.wait(0.5)
        if run.method == "offline":
            assert ("alone", run.seed, 1) in done
        done.append(run.key)

    run_all(runs, train, processes=4)
    assert len(done) == len(runs)


def test_one_at_a_time_is_in_the_order_of_the_plan(runs):
    done = []
    run_all(runs, lambda run, cores: done.append(run.key), processes=1)
    assert done == [run.key for run in runs]


def test_a_failure_costs_itself_and_what_needs_it(runs):
    def train(run, cores):
        if run.key == ("alone", 0, 1):
            raise WorkerError("a loss became NaN")

    trained, failed = run_all(runs, train)
    assert failed == {
        ("alone", 0, 1): "a loss became NaN",
        ("offline", 0, 2): "It needs seed 0, student 1 alone, which failed",
    }
    assert len(trained) == len(runs) - 2


def test_an_unexpected_error_stops_the_others(runs):
    stopped = threading.Event()

    def train(run, cores):
        if run.seed == 0:
            raise ZeroDivisionError
        stopped.wait(30)

    with pytest.raises(ZeroDivisionError):
        run_all(runs, train, stop=stopped.set)
    assert stopped.is_set()
