"""Integers of tensors, against numbers worked out by hand."""

import numpy as np

from oekd_tf.device.quantization import dequantize, quantize


def test_there():
    values = np.array([-300.0, 0.0, 1.2, 1.3, 127.0, 300.0])
    # (1.2 / 0.5) + 3 = 5.4 and (1.3 / 0.5) + 3 = 5.6
    np.testing.assert_array_equal(quantize(values, np.int8, 0.5, 3), [-128, 3, 5, 6, 127, 127])
    np.testing.assert_array_equal(quantize(values, np.uint8, 1.0, 0), [0, 0, 1, 1, 127, 255])
    assert quantize(values, np.int16, 0.5, 3).dtype == np.int16


def test_back():
    stored = np.array([[-128, 3, 127]], np.int8)
    np.testing.assert_array_equal(dequantize(stored, 0.5, 3), [[-65.5, 0.0, 62.0]])
    assert dequantize(stored, 0.5, 3).dtype == np.float32


def test_a_tensor_that_is_not_quantized_stores_the_values():
    values = np.array([0.25, 255.0])
    assert quantize(values, np.float32, 0.0, 0).dtype == np.float32
    np.testing.assert_array_equal(dequantize(quantize(values, np.float32, 0.0, 0), 0.0, 0), values)
