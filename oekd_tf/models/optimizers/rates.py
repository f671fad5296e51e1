"""Learning rates of single variables, as factors of the optimizer's."""

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from oekd_tf.core.errors import format_value
from oekd_tf.core.keras_internals import variable_path
from oekd_tf.core.types import Tensor


def check_rates(rates: Mapping[str, float] | None) -> dict[str, float]:
    """Factors by path of a variable; none for None.

    Args:
        rates: The argument.

    Raises:
        ValueError: A factor is below 0 or not finite.
    """
    found = {str(path): float(factor) for path, factor in (rates or {}).items()}
    if not all(0 <= factor < math.inf for factor in found.values()):
        raise ValueError(
            "rates must be factors of at least 0 by path of a variable. "
            f"Received: {format_value(rates)}"
        )
    return found


def check_known(rates: Mapping[str, float], variables: Sequence[Any]) -> None:
    """Refuses factors of which none is of a variable that is trained.

    A few may be left over: of a network's variables some may be frozen, or trained elsewhere.

    Args:
        rates: Factors by path of a variable.
        variables: The variables that an optimizer trains.

    Raises:
        ValueError: No path is of such a variable.
    """
    paths = [variable.path for variable in variables]
    if rates and not rates.keys() & set(paths):
        first = next(iter(rates))
        near = difflib.get_close_matches(first, paths, n=1, cutoff=0.0)
        raise ValueError(
            "rates must be factors by path of a variable of the network, such as "
            f"{near[0] if near else 'none'!r}. Received: {first!r}"
        )


def rate_of(
    optimizer: keras.optimizers.Optimizer,
    variable: Any,
    learning_rate: Tensor,
    rates: Mapping[str, float],
) -> Tensor:
    """The learning rate of a variable.

    Args:
        optimizer: The optimizer that updates it.
        variable: The variable.
        learning_rate: The optimizer's learning rate.
        rates: Factors by path of a variable; 1 for those that are not there.

    Returns:
        A scalar.
    """
    factor = rates.get(variable_path(optimizer, variable), 1.0) if rates else 1.0
    return learning_rate if factor == 1.0 else learning_rate * factor
