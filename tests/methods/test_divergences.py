"""Divergences against their formulas in NumPy, and their gradients."""

import numpy as np
import pytest
import tensorflow as tf
from by_hand import kl as kl_by_hand
from by_hand import log_softmax, softmax

from oekd_tf.methods.parts import divergences
from oekd_tf.methods.parts.divergences import DIVERGENCES, dkd, kl, nkd, standardized_kl

NAMES = ("kl", "standardized_kl", "dkd", "nkd")


def standardized_by_hand(teacher, student, temperature, labels):
    def normal(z):
        return (z - z.mean(-1, keepdims=True)) / (z.std(-1, keepdims=True) + 1e-7)

    return kl_by_hand(normal(teacher), normal(student), temperature)


def of_each(function):
    """A function of one example's logits, for (..., batch, classes) on either side."""

    def whole(teacher, student, temperature, labels):
        teacher, student = np.broadcast_arrays(teacher, student)
        found = np.zeros(student.shape[:-1])
        for place in np.ndindex(found.shape):
            y = labels[place[-1]]
            found[place] = function(teacher[place], student[place], temperature, y)
        return found

    return whole


def dkd_of_one(t, z, temperature, y):
    pt, ps = softmax(t / temperature), softmax(z / temperature)
    of_true = pt[y] * np.log(pt[y] / ps[y]) + (1 - pt[y]) * np.log((1 - pt[y]) / (1 - ps[y]))
    rest_t, rest_s = (softmax(np.delete(side, y) / temperature) for side in (t, z))
    of_others = (rest_t * np.log(rest_t / rest_s)).sum()
    return temperature**2 * (1.0 * of_true + 8.0 * of_others)


def nkd_of_one(t, z, temperature, y):
    of_true = -softmax(t)[y] * log_softmax(z)[y]
    rest_t = softmax(np.delete(t, y) / temperature)
    rest_s = log_softmax(np.delete(z, y) / temperature)
    return of_true - 1.5 * temperature**2 * (rest_t * rest_s).sum()


BY_HAND = {
    "kl": lambda t, z, temperature, labels: kl_by_hand(t, z, temperature),
    "standardized_kl": standardized_by_hand,
    "dkd": of_each(dkd_of_one),
    "nkd": of_each(nkd_of_one),
}


def test_every_divergence_is_tested():
    assert set(DIVERGENCES) == set(NAMES)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("name", NAMES)
class TestAgainstNumPy:
    def test_one_teacher(self, name, temperature, rng):
        teacher, students = 3 * rng.normal(size=(6, 5)), 3 * rng.normal(size=(3, 6, 5))
        labels = rng.integers(0, 5, 6)
        expected = BY_HAND[name](teacher, students, temperature, labels)
        found = DIVERGENCES[name](teacher, students, temperature, labels)
        assert found.shape == (3, 6)
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)

    def test_a_teacher_for_each_student(self, name, temperature, rng):
        teachers, students = 3 * rng.normal(size=(2, 3, 6, 5))
        labels = rng.integers(0, 5, 6)
        expected = BY_HAND[name](teachers, students, temperature, labels)
        found = DIVERGENCES[name](teachers, students, temperature, labels)
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["dkd", "nkd"])
def test_labels_of_every_form(name, rng):
    teacher, student = rng.normal(size=(2, 6, 5))
    labels = rng.integers(0, 5, 6)
    # The true class has the largest part, and the others have some.
    soft = 0.4 * np.eye(5)[labels] + 0.6 * rng.dirichlet(np.full(5, 50.0), 6)
    assert (soft.argmax(-1) == labels).all()
    expected = BY_HAND[name](teacher, student, 2.0, labels)
    for given in (labels, labels[:, None], labels.astype("float32"), soft.astype("float32")):
        found = DIVERGENCES[name](teacher, student, 2.0, given)
        np.testing.assert_allclose(found, expected, rtol=2e-4)


class TestLiteralValues:
    """Teacher log(2, 1, 1), so (1/2, 1/4, 1/4); the student is uniform."""

    teacher = np.log([[2.0, 1.0, 1.0]])
    student = np.zeros((1, 3))

    def test_kl(self):
        # ½ ln(3/2) + ½ ln(3/4).
        np.testing.assert_allclose(kl(self.teacher, self.student, 1.0), [0.0588915], rtol=1e-5)

    def test_standardized_kl(self):
        # [2, 0] becomes [1, -1], [5, 5] becomes [0, 0]; softmax([1, -1] / 2) = [0.7311, 0.2689].
        found = standardized_kl(np.array([[2.0, 0.0]]), np.array([[5.0, 5.0]]), 2.0)
        np.testing.assert_allclose(found, [0.443777], rtol=1e-5)

    def test_dkd(self):
        # True class 0: the others are alike on both sides. Class 1: 0.0164168 for (1/4, 3/4) from
        # (1/3, 2/3), and 8 times 0.0566330 for (2/3, 1/3) from (1/2, 1/2).
        for label, expected in ((0, 0.0588915), (1, 0.4694808), (2, 0.4694808)):
            found = dkd(self.teacher, self.student, 1.0, np.array([label]))
            np.testing.assert_allclose(found, [expected], rtol=1e-5)

    def test_nkd(self):
        # p_t[y] ln 3, and 1.5 ln 2.
        for label, of_teacher in ((0, 0.5), (1, 0.25)):
            found = nkd(self.teacher, self.student, 1.0, np.array([label]))
            expected = of_teacher * 1.0986123 + 1.5 * 0.6931472
            np.testing.assert_allclose(found, [expected], rtol=1e-6)

    def test_other_weights(self):
        arguments = (self.teacher, self.student, 1.0, np.array([1]))
        only_others = dkd(*arguments, target_weight=0.0, others_weight=1.0)
        np.testing.assert_allclose(only_others, [0.0566330], rtol=1e-5)
        only_true = nkd(*arguments, others_weight=0.0)
        np.testing.assert_allclose(only_true, [0.25 * 1.0986123], rtol=1e-6)


@pytest.mark.parametrize("name", ["kl", "standardized_kl", "dkd"])
def test_zero_for_a_perfect_copy(name, rng):
    logits = 3 * rng.normal(size=(6, 5))
    found = DIVERGENCES[name](logits, logits, 3.0, rng.integers(0, 5, 6))
    np.testing.assert_allclose(found, 0, atol=1e-5)


def test_standardized_kl_ignores_scale_and_offset(rng):
    teacher, student = rng.normal(size=(2, 6, 5))
    expected = standardized_kl(teacher, student, 2.0)
    for factor, offset in ((0.1, 0.0), (7.0, -20.0), (30.0, 3.0)):
        for sides in (
            (factor * teacher + offset, student),
            (teacher, factor * student + offset),
            (factor * teacher + offset, 2 * student - 1),
        ):
            np.testing.assert_allclose(standardized_kl(*sides, 2.0), expected, rtol=1e-4)
    # A negative factor turns the order round.
    assert np.abs(standardized_kl(-teacher, student, 2.0) - expected).max() > 0.1


def test_standardize_has_mean_0_and_the_biased_deviation(rng):
    found = np.asarray(divergences.standardize(5 * rng.normal(size=(2, 6, 5)) + 3))
    np.testing.assert_allclose(found.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(-1), 1, rtol=1e-5)


def gradients(name, teacher, student, labels, temperature=2.0, attached=False, **arguments):
    sides = [tf.Variable(side, dtype="float32") for side in (teacher, student)]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(
            DIVERGENCES[name](
                sides[0] * 1.0, sides[1] * 1.0, temperature, labels, attached, **arguments
            )
        )
    return tape.gradient(loss, sides)


@pytest.mark.parametrize("name", NAMES)
class TestGradients:
    def test_the_teacher_has_none_unless_attached(self, name, rng):
        teacher, student = rng.normal(size=(2, 6, 5))
        labels = rng.integers(0, 5, 6)
        to_teacher, to_student = gradients(name, teacher, student, labels)
        assert to_teacher is None
        assert np.abs(to_student).max() > 1e-3
        attached, same = gradients(name, teacher, student, labels, attached=True)
        assert np.abs(attached).max() > 1e-3
        np.testing.assert_allclose(same, to_student, rtol=1e-6)

    def test_they_are_the_formulas_finite_differences(self, name, rng):
        teacher, student = rng.normal(size=(2, 3, 4))
        labels = rng.integers(0, 4, 3)
        found = gradients(name, teacher, student, labels, attached=True)
        for side, gradient in enumerate(found):
            for place in np.ndindex(3, 4):
                sides = [teacher.copy(), student.copy()]
                change = []
                for step in (1e-5, -1e-5):
                    sides[side][place] = (teacher, student)[side][place] + step
                    change.append(BY_HAND[name](*sides, 2.0, labels).sum())
                expected = (change[0] - change[1]) / 2e-5
                assert gradient[place].numpy() == pytest.approx(expected, rel=1e-3, abs=1e-4)

    @pytest.mark.parametrize(
        ("teacher", "student"),
        [
            ([[1.0, 1.0, 1.0]], [[2.0, 2.0, 2.0]]),
            ([[0.0, 0.0, 0.0]], [[1.0, -1.0, 0.5]]),
            ([[1.0, -1.0, 0.5]], [[0.0, 0.0, 0.0]]),
            ([[300.0, -300.0, 0.0]], [[-300.0, 300.0, 0.0]]),
            ([[1e4, 0.0, 0.0]], [[1e4, 0.0, 0.0]]),
        ],
    )
    def test_none_is_nan(self, name, teacher, student):
        for label in (0, 1):
            for gradient in gradients(name, teacher, student, np.array([label]), attached=True):
                assert np.isfinite(gradient).all()
            assert np.isfinite(
                DIVERGENCES[name](np.array(teacher), np.array(student), 1.0, np.array([label]))
            ).all()


class TestAPerfectCopy:
    """What it still has of a gradient."""

    def test_dkd_has_none(self, rng):
        logits, labels = rng.normal(size=(6, 5)), rng.integers(0, 5, 6)
        for weights in ({}, {"target_weight": 0.0}):
            _, to_student = gradients("dkd", logits, logits, labels, **weights)
            np.testing.assert_allclose(to_student, 0, atol=1e-5)

    def test_nkd_has_that_of_the_true_class_alone(self, rng):
        logits, labels = rng.normal(size=(6, 5)), rng.integers(0, 5, 6)
        p, true = softmax(logits), np.eye(5)[labels]
        expected = (p * true).sum(-1, keepdims=True) * (p - true)
        for weight in (1.5, 100.0):
            _, to_student = gradients("nkd", logits, logits, labels, others_weight=weight)
            np.testing.assert_allclose(to_student, expected, atol=2e-4)


def test_gradient_among_the_others_does_not_touch_the_true_class(rng):
    """NCKD is among the other classes: the true class's logit has no part in it."""
    teacher, student = rng.normal(size=(2, 6, 5))
    labels = rng.integers(0, 5, 6)
    _, with_others = gradients("dkd", teacher, student, labels, target_weight=0.0)
    np.testing.assert_allclose(with_others.numpy()[range(6), labels], 0, atol=1e-6)
