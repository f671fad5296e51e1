"""Selection of the best student and format under a device's limits."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# For each limit: whether lower is better, and the format of its values.
_LIMITS = {
    "max_bytes": (True, "{:,.0f} bytes"),
    "max_latency_ms": (True, "{:.3f} ms"),
    "max_activation_bytes": (True, "{:,.0f} bytes of activations"),
    "max_sram": (True, "{:,.0f} bytes of SRAM"),
    "max_arena": (True, "{:,.0f} bytes of arena"),
    "min_accuracy": (False, "accuracy {:.4f}"),
}


class Candidate(NamedTuple):
    """A file and the values that limits apply to.

    Attributes:
        file: The `ExportedFile`.
        values: Values of the file by name of the limit; there must be one for each limit.
    """

    file: Any
    values: Mapping[str, float]


class Miss(NamedTuple):
    """A limit that a candidate violates.

    Attributes:
        limit: Name of the limit.
        allowed: Value of the limit.
        found: Value of the candidate.
        violation: Relative violation of the limit.
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
    """The limits that a candidate violates.

    Args:
        candidate: Candidate with a value for each limit.
        limits: Values of "max_bytes", "max_latency_ms", "max_activation_bytes", "max_arena",
            "max_sram" or "min_accuracy".

    Returns:
        The violated limits; none if the candidate fits.
    """
    found = []
    for limit, allowed in limits.items():
        value = candidate.values[limit]
        excess = value - allowed if _LIMITS[limit][0] else allowed - value
        if excess > 0:
            found.append(Miss(limit, allowed, value, excess / allowed))
    return found


def best(candidates: Sequence[Candidate], limits: Mapping[str, float]) -> Candidate | None:
    """The most accurate candidate within all limits.

    Ties are broken by latency, if that is limited, then by size.

    Args:
        candidates: Candidates to choose from.
        limits: Limits, as in `misses`.

    Returns:
        The best candidate; None if none fits.
    """
    fitting = [candidate for candidate in candidates if not misses(candidate, limits)]
    return min(fitting, key=lambda candidate: _rank(candidate, limits), default=None)


def nearest(candidates: Sequence[Candidate], limits: Mapping[str, float]) -> Candidate:
    """The candidate with the smallest sum of relative violations.

    Args:
        candidates: Candidates to choose from, at least one.
        limits: Limits, as in `misses`.

    Returns:
        The nearest candidate; ties are broken as in `best`.
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
