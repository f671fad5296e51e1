"""Budgets of students that stand in a config in place of widths."""

from typing import Any

from ml_collections import ConfigDict

from oekd_tf.config.fields import get

# By field: what it is in a budget of `widths_for`.
BUDGETS = {"ensemble.int8_bytes": "int8_bytes", "ensemble.latency_ms": "latency_ms"}


def budget_fields(config: ConfigDict) -> tuple[str, ...]:
    """Paths of the fields that a config has budgets in.

    Example:
        >>> config.ensemble.int8_bytes = (24_576, 16_384)
        >>> budget_fields(config)
        ('ensemble.int8_bytes',)
    """
    return tuple(path for path in BUDGETS if get(config, path))


def budgets(config: ConfigDict) -> list[dict[str, Any]]:
    """The budget of each student after the first, as `widths_for` takes it; none without budgets.

    Example:
        >>> config.ensemble.int8_bytes = (24_576, 16_384)
        >>> config.ensemble.latency_ms = (0.2, 0.1)
        >>> budgets(config)[1]
        {'int8_bytes': 16384, 'latency_ms': 0.1}
    """
    limits = {BUDGETS[path]: get(config, path) for path in budget_fields(config)}
    return [dict(zip(limits, each, strict=True)) for each in zip(*limits.values(), strict=True)]


def drop_budgets(config: ConfigDict) -> None:
    """Takes the budgets out of a config that has the widths found for them."""
    for path in BUDGETS:
        config.ensemble[path.rpartition(".")[2]] = ()
