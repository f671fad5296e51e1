"""Numbers of classes, worked out by hand."""

import numpy as np
import pytest

import oekd_tf
from oekd_tf.core import classes


def test_balanced_weights():
    weights = oekd_tf.classes.balanced_weights([10, 30, 60])
    np.testing.assert_allclose(weights, [100 / 30, 100 / 90, 100 / 180])
    # Of the mean training example.
    assert (weights * [10, 30, 60]).sum() / 100 == pytest.approx(1)
    np.testing.assert_allclose(classes.balanced_weights([7, 7]), [1, 1])


def test_logit_adjustment():
    np.testing.assert_allclose(
        classes.logit_adjustment([10, 30, 60], 0.5), 0.5 * np.log([0.1, 0.3, 0.6])
    )
    assert not classes.logit_adjustment([1, 2], 0.0).any()


@pytest.mark.parametrize("function", [classes.balanced_weights, classes.logit_adjustment])
def test_a_class_without_an_example(function):
    with pytest.raises(ValueError, match=r"must be off unless .* Received: none of class 1, 2$"):
        function([3, 0, 0, 4])
