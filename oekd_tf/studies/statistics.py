"""Means, standard deviations and confidence intervals over seeds."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

CONFIDENCE = 0.95

GAINS = "gains"
LOSES = "loses"
NO_DIFFERENCE = "no clear difference"
ONE_SEED = "one seed, no claim"


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds.

    Attributes:
        mean: Mean of the values.
        deviation: Sample standard deviation (over n − 1); None for a single value.
        count: Number of values.
    """

    mean: float
    deviation: float | None
    count: int


class Interval(NamedTuple):
    """Differences over seeds, with the confidence interval of their mean.

    Attributes:
        values: One difference for each seed.
        mean: Mean of the differences.
        low: Lower end of the mean's confidence interval; None for a single seed.
        high: Upper end of the interval; None for a single seed.
    """

    values: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None

    @property
    def verdict(self) -> str:
        """A gain or a loss where it is significant: the interval does not contain 0."""
        if self.low is None or self.high is None:
            return ONE_SEED
        if self.low > 0:
            return GAINS
        return LOSES if self.high < 0 else NO_DIFFERENCE


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation.

    Args:
        values: Values, at least one.

    Returns:
        Mean, standard deviation and number of the values.

    Raises:
        ValueError: There is no value.

    Example:
        >>> spread([1.0, 3.0])
        Spread(mean=2.0, deviation=1.4142135623730951, count=2)
    """
    values = [float(value) for value in values]
    if not values:
        raise ValueError("There must be a value to take the mean of. Received: none")
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return Spread(mean, None, 1)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return Spread(mean, math.sqrt(squares / (count - 1)), count)


def relative_gain(
    together: Sequence[float], alone: Sequence[float], confidence: float = CONFIDENCE
) -> Interval:
    """The paired gain 100 (together − alone) / alone, with Student's t confidence interval.

    Pairing by seed cancels what the seed does to both: initial weights and order of the data. The
    interval covers the choice of seeds, not that of the test images.

    Args:
        together: Accuracies of the ensemble's student, one for each seed.
        alone: Accuracies of the baseline for the same seeds, in the same order; above 0.
        confidence: Confidence level of the interval, between 0 and 1.

    Returns:
        The gain in %; a single seed has no interval.

    Raises:
        ValueError: A rule above is broken.

    Example:
        >>> relative_gain([0.52, 0.54], [0.50, 0.50]).mean
        6.0
    """
    if len(together) != len(alone) or not together:
        raise ValueError(
            "together and alone must be accuracies of the same seeds, at least one. "
            f"Received: {len(together)} and {len(alone)}"
        )
    if not min(alone) > 0:
        raise ValueError(f"Accuracies alone must be above 0. Received: {min(alone)}")
    values = [100 * (a - b) / b for a, b in zip(together, alone, strict=True)]
    return interval(values, confidence)


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The mean of differences over seeds, with Student's t confidence interval.

    Args:
        values: One difference for each seed, at least one.
        confidence: Confidence level of the interval, between 0 and 1.

    Returns:
        The mean and its interval; a single seed has no interval.

    Raises:
        ValueError: There is no value, or the confidence is out of range.

    Example:
        >>> interval([1.0, 2.0, 3.0])
        Interval(values=(1.0, 2.0, 3.0), mean=2.0, low=-0.48..., high=4.48...)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1. Received: {confidence}")
    found = spread(values)
    mean = found.mean
    if found.deviation is None:
        return Interval(tuple(values), mean, None, None)
    from scipy.stats import t

    quantile = float(t.ppf((1 + confidence) / 2, found.count - 1))
    half = quantile * found.deviation / math.sqrt(found.count)
    return Interval(tuple(values), mean, mean - half, mean + half)
