"""Likelihood, calibration and agreement, against values worked out by hand."""

import math

import numpy as np
import pytest

from oekd_tf.studies import metrics as evaluation

# Top probabilities 0.9 (right), 0.9 (wrong), 0.55 (right) and 0.7 (right).
PROBABILITIES = np.array([[0.9, 0.1], [0.1, 0.9], [0.55, 0.45], [0.3, 0.7]])
LABELS = np.array([0, 0, 0, 1])


def test_by_hand():
    logits = np.log(PROBABILITIES) + 3.0
    assert evaluation.accuracy(logits, LABELS) == 0.75
    expected = -(math.log(0.9) + math.log(0.1) + math.log(0.55) + math.log(0.7)) / 4
    assert evaluation.negative_log_likelihood(logits, LABELS) == pytest.approx(expected)
    # Five bins: (0.4, 0.6] has one image, (0.6, 0.8] one, (0.8, 1] two.
    found = evaluation.reliability(logits, LABELS, bins=5)
    assert [one.count for one in found] == [0, 0, 1, 1, 2]
    assert found[4].confidence == pytest.approx(0.9)
    assert found[4].accuracy == 0.5
    error = (abs(1 - 0.55) + abs(1 - 0.7) + 2 * abs(0.5 - 0.9)) / 4
    assert evaluation.expected_calibration_error(logits, LABELS, 5) == pytest.approx(error)


def test_likelihood_of_what_rounds_to_zero():
    assert evaluation.negative_log_likelihood([[1000.0, 0.0]], [1]) == pytest.approx(1000)


def test_balanced_accuracy():
    # Of class 0 two of three are right, of class 1 the one there is.
    assert evaluation.balanced_accuracy(PROBABILITIES, LABELS) == pytest.approx(5 / 6)
    assert evaluation.balanced_accuracy(np.eye(3)[[0, 0]], [0, 0]) == 1


def test_worst_recall():
    assert evaluation.worst_recall(PROBABILITIES, LABELS) == pytest.approx(2 / 3)
    assert evaluation.worst_recall(np.eye(3)[[0, 0]], [0, 1]) == 0
    assert evaluation.worst_recall(np.eye(3)[[0, 0]], [0, 0]) == 1, "of classes with images"


def test_agreement():
    assert evaluation.agreement(PROBABILITIES, PROBABILITIES[[0, 1, 3, 2]]) == 0.5
    assert evaluation.agreement(PROBABILITIES, 2 * PROBABILITIES) == 1


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((2, 3)), [0], r"shapes \(2, 3\) and \(1,\)"),
        (np.zeros(3), [0], "shapes"),
        (np.zeros((0, 3)), [], "shapes"),
        (np.zeros((1, 3)), [3], "from 0 to 2.*Received: 3"),
    ],
)
def test_refusals(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        evaluation.accuracy(logits, labels)
