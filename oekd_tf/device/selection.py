"""The best student and format under a device's limits."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# For each limit: whether less is better, and what to call a value of it.
_LIMITS = {
    "max_bytes": (True, "{:,.0f} bytes"),
    "max_latency_ms": (True, "{:.3f} ms"),
    "max_activation_bytes": (True, "{:,.0f} bytes of activations"),
    "min_accuracy": (False, "accuracy {:.4f}"),
}


class Candidate(NamedTuple):
    """A file and what limits are about.

    Attributes:
        file: An `ExportedFile`.
        values: By the limits' names, what this file has; a limited value must be there.
    """

    file: Any
    values: Mapping[str, float]


class Miss(NamedTuple):
    """A limit that a candidate does not keep.

    Attributes:
        limit: Its name.
        allowed: Its value.
        found: The candidate's.
        violation: By how much it is missed, relative to it.
    """

    limit: str
    allowed: float
    found: float
    violation: float

    def __str__(self) -> str:
        form = _LIMITS[self.limit][1]
        found, allowed = form.format(self.found), form.format(self.allowed)
        return f"{self.limit} by {self.violation:.1%} ({found}, limit {allowed})"


def misses(candidate: Candidate, limits: Mapping[str, float]) -> list[Miss]:
    """The limits that a candidate does not keep.

    Args:
        candidate: With a value for each limit.
        limits: Of "max_bytes", "max_latency_ms", "max_activation_bytes", "min_accuracy".

    Returns:
        Those it misses; none if it fits.
    """
    found = []
    for limit, allowed in limits.items():
        value = candidate.values[limit]
        excess = value - allowed if _LIMITS[limit][0] else allowed - value
        if excess > 0:
            found.append(Miss(limit, allowed, value, excess / allowed))
    return found


def best(candidates: Sequence[Candidate], limits: Mapping[str, float]) -> Candidate | None:
    """The most accurate candidate that keeps all limits.

    Of equally accurate ones it is the fastest, if latency is limited, then the smallest.

    Args:
        candidates: To choose among.
        limits: As of `misses`.

    Returns:
        The best; None if none fits.
    """
    fitting = [candidate for candidate in candidates if not misses(candidate, limits)]
    return min(fitting, key=lambda candidate: _rank(candidate, limits), default=None)


def nearest(candidates: Sequence[Candidate], limits: Mapping[str, float]) -> Candidate:
    """The candidate whose relative violations of the limits are least in sum.

    Args:
        candidates: At least one.
        limits: As of `misses`.

    Returns:
        The nearest; of equally near ones, as `best` prefers.
    """
    return min(
        candidates,
        key=lambda candidate: (
            sum(miss.violation for miss in misses(candidate, limits)),
            _rank(candidate, limits),
        ),
    )


def _rank(candidate: Candidate, limits: Mapping[str, float]) -> tuple[float, ...]:
    values = candidate.values
    latency = values["max_latency_ms"] if "max_latency_ms" in limits else 0.0
    return -values["min_accuracy"], latency, values["max_bytes"]
