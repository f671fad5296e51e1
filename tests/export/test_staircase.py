"""The search among latencies, on staircases that are known."""

import numpy as np
import pytest

from oekd_tf.export.staircase import NEIGHBOURS, Staircase


def network(step):
    """Sixteen steps a network, as a layer of 64 channels has in thousandths of a width."""
    return step // 16


def searched(costs, limit, low=16, high=1000, noise=None):
    """The answer, and how many networks were measured; costs by number of the network."""
    measured = []

    def measure(steps):
        measured.extend(network(step) for step in steps)
        extra = noise(len(steps)) if noise else np.zeros(len(steps))
        return [costs[network(step)] + e for step, e in zip(steps, extra, strict=True)]

    found = Staircase(network, measure).widest(low, high, limit)
    return found, len(set(measured))


RISING = np.arange(63) * 0.01
# Multiples of eight cost no more than the network before the last four.
STAIRS = np.array([0.01 * (n - 4 if n % 8 == 0 else n) for n in range(63)])


@pytest.mark.parametrize("limit", [0.05, 0.105, 0.333, 0.5])
def test_the_widest_step_of_the_last_network_within_the_limit(limit):
    found, networks = searched(RISING, limit)
    within = max(n for n in range(1, 63) if RISING[n] <= limit)
    assert found == 16 * within + 15
    # Bisection, the widest, and those after it.
    assert networks <= 6 + 2 + NEIGHBOURS


def test_a_cheaper_network_beyond_dearer_ones_is_found():
    # 24 costs as much as 20; 21, 22 and 23 cost more.
    found, _ = searched(STAIRS, 0.2)
    assert found == 24 * 16 + 15


def test_the_widest_and_none():
    assert searched(RISING, 1.0) == (1000, 1)
    assert searched(RISING + 1, 0.5)[0] is None
    # The widest step within others' limits is the end of no network.
    assert searched(RISING, 0.5, high=401)[0] == 401


def test_steps_of_one_network():
    assert searched(np.ones(63), 0.5, low=160, high=175)[0] is None
    assert searched(np.ones(63), 1.5, low=160, high=175)[0] == 175


def test_a_busy_machine_does_not_decide():
    """Measurements that are a fifth too high, each for itself, one in three."""
    for seed in range(20):
        rng = np.random.default_rng(seed)

        def noise(count, rng=rng):
            return np.where(rng.random(count) < 0.3, 0.06, 0.0)

        found, _ = searched(RISING, 0.305, noise=noise)
        # Never one that is too slow; the widest, or a neighbour of it.
        assert 28 * 16 + 15 <= found <= 30 * 16 + 15
