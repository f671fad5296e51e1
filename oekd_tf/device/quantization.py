"""Real numbers and what a TFLite tensor stores: value = scale × (stored − zero point)."""

from typing import Any

import numpy as np


def quantize(values: np.ndarray, dtype: Any, scale: float, zero_point: int) -> np.ndarray:
    """Real numbers as a tensor stores them.

    Args:
        values: Numbers, of any shape.
        dtype: Type of the tensor.
        scale: Scale of the tensor; 0 where it is not quantized.
        zero_point: Stored value of 0.

    Returns:
        Numbers of type `dtype`; what is out of its range is at the end of it.

    Example:
        >>> quantize(np.array([0.0, 255.0]), np.int8, 1.0, -128)
        array([-128,  127], dtype=int8)
    """
    values = values.astype(np.float32)
    if not scale:
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.round(values / scale) + zero_point, limits.min, limits.max).astype(dtype)


def dequantize(stored: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """What a tensor stores as real numbers in float32.

    Args:
        stored: Content of the tensor, of any shape.
        scale: Scale of the tensor; 0 where it is not quantized.
        zero_point: Stored value of 0.

    Returns:
        Numbers in float32.

    Example:
        >>> dequantize(np.array([-128, 127], np.int8), 0.5, -128)
        array([  0. , 127.5], dtype=float32)
    """
    values = stored.astype(np.float32)
    return (values - zero_point) * np.float32(scale) if scale else values
