"""The widest step of a noisy staircase that is below a limit."""

from collections.abc import Callable, Hashable, Sequence

# A processor is faster with some numbers of channels than with smaller ones: so many networks
# wider than what bisection finds are tried, one after another.
NEIGHBOURS = 8
# Networks this near to the limit are measured again, all in turns.
_NEAR = 0.25
_REPETITIONS = 2


class Staircase:
    """A search among steps for the widest whose cost is within a limit.

    Costs rise with the steps, but for some that are cheaper than narrower ones, and every
    measurement may be too high. Steps of the same network are measured once.

    Args:
        network: What is the same for steps of the same network, and grows with the step.
        measure: Measures networks, given by a step each, in turns; called with few at a time.

    Example:
        >>> Staircase(lambda step: step // 10, lambda steps: [0.1 * s for s in steps]).widest(
        ...     1, 100, limit=5.0)
    """

    def __init__(
        self,
        network: Callable[[int], Hashable],
        measure: Callable[[Sequence[int]], Sequence[float]],
    ):
        self._network = network
        self._measure = measure
        self._costs: dict[Hashable, float] = {}
        # The widest known step of each network that was measured.
        self._steps: dict[Hashable, int] = {}

    def widest(self, low: int, high: int, limit: float) -> int | None:
        """The widest step from low to high whose cost is at most the limit; None if there is none.

        Args:
            low: Narrowest step.
            high: Widest step.
            limit: Largest cost.
        """
        if self.cost(high) <= limit:
            return high
        start = first(lambda step: self.cost(step) > limit, low, high)
        self._walk(start, high, limit)
        for _ in range(_REPETITIONS):
            self._again(low, high, limit)
            # Time is only ever added: what is now within the limit has always been.
            found = self._within(low, high, limit)
            if found:
                self._walk(max(found) + 1, high, limit)
        return max(self._within(low, high, limit), default=None)

    def cost(self, step: int) -> float:
        """Least measured cost of a step's network."""
        network = self._network(step)
        if network not in self._costs:
            self._note([step], self._measure([step]))
        self._steps[network] = max(step, self._steps[network])
        return self._costs[network]

    def least(self) -> tuple[int, float]:
        """A step and its cost, the least of all that were measured."""
        network = min(self._costs, key=lambda n: self._costs[n])
        return self._steps[network], self._costs[network]

    def _note(self, steps: Sequence[int], costs: Sequence[float]) -> None:
        for step, cost in zip(steps, costs, strict=True):
            network = self._network(step)
            self._costs[network] = min(cost, self._costs.get(network, cost))
            self._steps[network] = max(step, self._steps.get(network, step))

    def _walk(self, step: int, high: int, limit: float) -> None:
        """Measures ever wider networks until several in a row are above the limit."""
        misses = 0
        while step <= high and misses < NEIGHBOURS:
            top = self._top(step, high)
            misses = 0 if self.cost(top) <= limit else misses + 1
            step = top + 1

    def _again(self, low: int, high: int, limit: float) -> None:
        found = self._within(low, high, limit)
        near = [
            step
            for network, step in self._steps.items()
            if low <= step <= high
            and step >= max(found, default=low)
            and self._costs[network] <= limit * (1 + _NEAR)
        ]
        near = near or [self.least()[0]]
        self._note(near, self._measure(near))

    def _within(self, low: int, high: int, limit: float) -> list[int]:
        return [
            self._top(step, high)
            for network, step in self._steps.items()
            if low <= step <= high and self._costs[network] <= limit
        ]

    def _top(self, step: int, high: int) -> int:
        """The widest step of the same network."""
        network, reach = self._network(step), 1
        while step + reach <= high and self._network(step + reach) == network:
            reach *= 2
        end = min(step + reach, high + 1)
        return first(lambda s: self._network(s) != network, step + reach // 2, end) - 1


def first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The least number from low on for which a rising predicate holds; high if there is none."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
