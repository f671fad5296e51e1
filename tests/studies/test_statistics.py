"""Means over seeds and paired intervals, against values worked out by hand."""

import math

import pytest

from oekd_tf.studies.statistics import (
    GAINS,
    LOSES,
    NO_DIFFERENCE,
    ONE_SEED,
    Spread,
    relative_gain,
    spread,
)


def test_spread():
    assert spread([1.0, 2.0, 6.0]) == Spread(3.0, math.sqrt((4 + 1 + 9) / 2), 3)
    assert spread([0.5]) == Spread(0.5, None, 1)
    with pytest.raises(ValueError, match="Received: none"):
        spread([])


def test_gain_by_hand():
    gain = relative_gain([0.52, 0.55, 0.56], [0.50, 0.50, 0.50])
    assert gain.values == pytest.approx((4.0, 10.0, 12.0))
    assert gain.mean == pytest.approx(26 / 3)
    # Student's t with two degrees of freedom at 97.5 %, from a printed table: 4.303.
    half = 4.303 * math.sqrt(52 / 3) / math.sqrt(3)
    assert gain.low == pytest.approx(26 / 3 - half, abs=2e-3)
    assert gain.high == pytest.approx(26 / 3 + half, abs=2e-3)


def test_seeds_are_paired():
    """What a seed does to both runs is not counted as luck."""
    alone = [0.40, 0.50, 0.60]
    gain = relative_gain([1.1 * value for value in alone], alone)
    assert gain.mean == pytest.approx(10)
    assert gain.high - gain.low == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("together", "verdict"),
    [
        ([0.52, 0.53, 0.52], GAINS),
        ([0.48, 0.47, 0.48], LOSES),
        ([0.49, 0.53, 0.51], NO_DIFFERENCE),
        ([0.60], ONE_SEED),
    ],
)
def test_verdict(together, verdict):
    assert relative_gain(together, [0.5] * len(together)).verdict == verdict


@pytest.mark.parametrize(
    ("together", "alone", "confidence", "message"),
    [
        ([0.5], [0.5, 0.5], 0.95, "Received: 1 and 2"),
        ([], [], 0.95, "Received: 0 and 0"),
        ([0.5], [0.0], 0.95, "Received: 0.0"),
        ([0.5], [0.5], 1.0, "Received: 1.0"),
    ],
)
def test_refusals(together, alone, confidence, message):
    with pytest.raises(ValueError, match=message):
        relative_gain(together, alone, confidence)
