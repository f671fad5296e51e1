"""Initial weights under JAX, without a compilation for every shape of a weight."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import keras
import numpy as np

from oekd_tf.core.keras_internals import replaced_random

_DRAWN = ("normal", "truncated_normal", "uniform")
_LEAST = 4096


@contextlib.contextmanager
def drawn_by_size() -> Iterator[None]:
    """Lets initializers compile one drawing for all weights of about the same size.

    JAX compiles what it draws for every shape, which for an ensemble takes longer than its first
    training step. A number that JAX draws depends on the key and on its place in the array only,
    so that the first numbers of a longer draw are those of a shorter one: weights are what they
    are without this, bit for bit.

    Example:
        >>> with drawn_by_size():
        ...     layer.build((None, 32, 32, 16))
    """
    settings: Any = jax.config
    generator = settings.jax_default_prng_impl
    if generator != "threefry2x32" or not settings.jax_threefry_partitionable:
        # With other generators a number depends on the size of the draw.
        yield
        return
    with replaced_random(dict.fromkeys(_DRAWN, _by_size)):
        yield


def _by_size(draw: Callable[..., Any]) -> Callable[..., Any]:
    def drawn(shape: tuple, *args: Any, **kwargs: Any) -> Any:
        size = math.prod(shape)
        longer = _LEAST
        while longer < size:
            longer *= 4
        numbers = np.asarray(draw((longer,), *args, **kwargs))
        return keras.ops.convert_to_tensor(numbers[:size].reshape(shape))

    return drawn
