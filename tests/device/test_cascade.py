"""Cascades of two students, against counting image by image."""

import numpy as np
import pytest
from scipy.stats import binomtest

from oekd_tf.device.cascade import (
    ALWAYS_ASK,
    choose_threshold,
    curve,
    evaluate_cascade,
    paired_drop,
)
from oekd_tf.device.predictions import probabilities

SMALL_COST, LARGE_COST = 1.0, 10.0


def logits_of(sure, answers):
    """Logits of two classes whose top probability is `sure` and whose top class `answers`."""
    sure = np.asarray(sure)
    probability = np.where(np.asarray(answers) == 1, sure, 1 - sure)
    return np.stack([np.log(1 - probability), np.log(probability)], axis=-1)


@pytest.fixture
def two(rng):
    """Noisy logits of a worse and a better student, and labels."""
    labels = rng.integers(0, 5, 400)
    true = 2.0 * np.eye(5)[labels]
    small = (true + rng.normal(0, 1.6, true.shape)).astype(np.float32)
    large = (true + rng.normal(0, 0.9, true.shape)).astype(np.float32)
    return small, large, labels


def by_counting(threshold, small, large, labels):
    right = cost = asked = 0
    for first, second, label in zip(small, large, labels, strict=True):
        cost += SMALL_COST
        if probabilities(first).max() < threshold:
            asked += 1
            cost += LARGE_COST
            first = second
        right += int(np.argmax(first) == label)
    return right / len(labels), cost / len(labels), asked / len(labels)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.9, 1.0, ALWAYS_ASK])
def test_evaluation(two, threshold):
    found = evaluate_cascade(threshold, *two, SMALL_COST, LARGE_COST)
    assert found.threshold == threshold
    assert found[1:] == pytest.approx(by_counting(threshold, *two))


def test_at_the_threshold_the_smaller_answers():
    small, large = logits_of([0.75, 0.6], [1, 1]), logits_of([0.9, 0.9], [0, 0])
    exactly = probabilities(small)[0].max()
    found = evaluate_cascade(exactly, small, large, np.array([1, 0]), SMALL_COST, LARGE_COST)
    assert (found.accuracy, found.share_asked) == (1.0, 0.5)


class TestCurve:
    def test_is_what_evaluation_says(self, two):
        found = curve(*two, SMALL_COST, LARGE_COST)
        assert len(found) == len(set(probabilities(two[0]).max(-1))) + 1
        for operation in found:
            assert operation == pytest.approx(
                evaluate_cascade(operation.threshold, *two, SMALL_COST, LARGE_COST)
            )
        costs = [operation.mean_cost for operation in found]
        assert costs == sorted(set(costs))

    def test_ends_are_the_students_alone(self, two):
        small, large, labels = two
        first, *_, last = curve(*two, SMALL_COST, LARGE_COST)
        assert (first.mean_cost, last.mean_cost) == (SMALL_COST, SMALL_COST + LARGE_COST)
        assert first.accuracy == np.mean(small.argmax(-1) == labels)
        assert last.accuracy == np.mean(large.argmax(-1) == labels)

    def test_equally_sure_images_go_together(self):
        small, large = logits_of([0.6, 0.6, 0.9], [0, 0, 1]), logits_of([0.9] * 3, [1, 1, 1])
        found = curve(small, large, np.ones(3, int), SMALL_COST, LARGE_COST)
        assert [round(3 * operation.share_asked) for operation in found] == [0, 2, 3]
        assert found[1].threshold == pytest.approx(0.75)

    def test_probabilities_that_are_neighbours(self):
        """No number lies between them, and their mean may be rounded to the lower one."""
        labels, down = np.array([0, 1]), 0
        for top in 0.5 + np.arange(200) * 2.0**-52:
            small = np.array([[0.0, top], [0.0, top + 2.0**-52]])
            sure = probabilities(small).max(-1)
            down += sure[0] < sure[1] and sure.mean() == sure[0]
            for operation in curve(small, small, labels, SMALL_COST, LARGE_COST):
                assert operation == pytest.approx(
                    evaluate_cascade(
                        operation.threshold, small, small, labels, SMALL_COST, LARGE_COST
                    )
                )
        assert down > 0


class TestChoice:
    @pytest.mark.parametrize("drop", [0.0, 0.01, 0.05, 1.0])
    def test_is_the_cheapest_that_is_accurate_enough(self, two, drop):
        chosen = choose_threshold(*two, SMALL_COST, LARGE_COST, drop)
        least = np.mean(two[1].argmax(-1) == two[2]) - drop
        assert chosen.accuracy >= least - 1e-12
        cheaper = [
            operation
            for operation in curve(*two, SMALL_COST, LARGE_COST)
            if operation.mean_cost < chosen.mean_cost
        ]
        assert all(operation.accuracy < least for operation in cheaper)
        assert bool(cheaper) == (drop < 1)

    def test_by_hand(self):
        # The smaller student errs on the first and third of these, from unsure to sure.
        small = logits_of([0.55, 0.65, 0.75, 0.85, 0.95], [0, 1, 0, 1, 1])
        large = logits_of([0.9] * 5, [1, 1, 1, 1, 1])
        labels = np.ones(5, int)
        found = choose_threshold(small, large, labels, 1.0, 10.0)
        assert found == pytest.approx((0.8, 1.0, 7.0, 0.6))
        found = choose_threshold(small, large, labels, 1.0, 10.0, max_accuracy_drop=0.2)
        assert found == pytest.approx((0.6, 0.8, 3.0, 0.2))

    def test_accuracies_are_counts(self):
        assert 0.8 - 0.1 > 0.7
        sure, labels = np.linspace(0.6, 0.9, 10), np.ones(10, int)
        small, large = logits_of(sure, [0] * 3 + [1] * 7), logits_of(sure, [0] * 2 + [1] * 8)
        assert choose_threshold(small, large, labels, 1.0, 10.0, 0.1).share_asked == 0

    def test_smaller_student_that_is_better_is_never_left(self, two):
        small, large, labels = two
        found = choose_threshold(large, small, labels, SMALL_COST, LARGE_COST)
        assert (found.threshold, found.share_asked) == (0.0, 0.0)

    def test_useless_smaller_student(self):
        small, large = logits_of([0.6, 0.9], [0, 0]), logits_of([0.9, 0.9], [1, 1])
        found = choose_threshold(small, large, np.ones(2, int), SMALL_COST, LARGE_COST)
        assert (found.threshold, found.mean_cost) == (ALWAYS_ASK, SMALL_COST + LARGE_COST)


@pytest.mark.parametrize(
    ("small", "large", "labels"),
    [((3, 2), (3, 4), (3,)), ((3, 2), (3, 2), (2,)), ((0, 2), (0, 2), (0,)), ((3,), (3,), (3,))],
)
def test_refusals(small, large, labels):
    arrays = np.zeros(small), np.zeros(large), np.zeros(labels)
    with pytest.raises(ValueError, match=r"logits must be .* Received: \("):
        choose_threshold(*arrays, 1.0, 2.0)
    with pytest.raises(ValueError, match="Received"):
        evaluate_cascade(0.5, *arrays, 1.0, 2.0)


def test_drop_must_be_a_share(two):
    with pytest.raises(ValueError, match=r"max_accuracy_drop must be from 0 to 1\. Received: -1"):
        choose_threshold(*two, 1.0, 2.0, -1)


def test_paired_drop_counts_image_by_image(two):
    small, large, labels = two
    found = paired_drop(0.6, small, large, labels)
    lost = won = 0
    for one, other, label in zip(small, large, labels, strict=True):
        answer = other.argmax() if probabilities(one[None]).max() < 0.6 else one.argmax()
        lost += bool(other.argmax() == label != answer)
        won += bool(answer == label != other.argmax())
    assert lost > won > 0
    assert (found.lost, found.won) == (lost, won)
    assert found.drop == (lost - won) / len(labels)
    accuracy = evaluate_cascade(0.6, small, large, labels, 1.0, 10.0).accuracy
    assert found.drop == pytest.approx((large.argmax(-1) == labels).mean() - accuracy)
    one, other = (binomtest(n, len(labels)).proportion_ci(0.975, "exact") for n in (lost, won))
    assert [found.low, found.high] == pytest.approx([one.low - other.high, one.high - other.low])


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (5, 0), (0, 5), (1, 1)])
def test_paired_drop_of_few_images(lost, won):
    """The small student always answers; it has other images right than the large one."""
    count = 20
    right = np.ones(count, int)
    small = logits_of(np.full(count, 0.9), np.where(np.arange(count) < lost, 0, right))
    large = logits_of(np.full(count, 0.9), np.where(np.arange(count) >= count - won, 0, right))
    found = paired_drop(0.0, small, large, right)
    assert (found.lost, found.won) == (lost, won)
    assert found.low <= found.drop <= found.high
    assert found.low <= 0
    assert found.high - found.low > 0.1
    # Of twenty none lost, none won: Clopper and Pearson's upper end is 1 - 0.0125 ** (1 / 20).
    if (lost, won) == (0, 0):
        assert found.high == pytest.approx(1 - 0.0125 ** (1 / count))
        assert found.low == -found.high
