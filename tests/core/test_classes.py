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


class TestRecall:
    labels = np.array([0, 0, 0, 1, 1, 3])
    predicted = np.array([0, 0, 1, 1, 1, 2])

    def test_by_hand(self):
        matrix = classes.confusion(self.predicted, self.labels, 4)
        assert matrix.tolist() == [[2, 1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]
        recall = classes.recall(matrix)
        assert recall == [2 / 3, 1.0, None, 0.0]
        assert classes.balanced_accuracy(recall) == pytest.approx(5 / 9)
        assert classes.worst_class(recall) == 3
        assert classes.worst_classes(recall) == [3, 0, 1]

    def test_of_classes_of_one_size_it_is_the_accuracy(self, rng):
        labels, predicted = np.repeat(np.arange(5), 20), rng.integers(0, 5, 100)
        recall = classes.recall(classes.confusion(predicted, labels, 5))
        assert classes.balanced_accuracy(recall) == pytest.approx((predicted == labels).mean())
