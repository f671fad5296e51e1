"""Values of Keras variables."""

from typing import Any

import keras
import numpy as np


def as_array(variable: Any) -> np.ndarray:
    """The value of a variable on any backend, on one replica or several.

    Args:
        variable: A Keras variable or a tensor.

    Returns:
        Its value, which may share the variable's memory.
    """
    # As a tensor first: a variable with a part on every replica has no other way to an array.
    return keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(variable))
