import keras
import numpy as np
import pytest
import tensorflow as tf

from oekd_tf.methods.parts import losses


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class TestEnsembleLogits:
    def test_mean_of_students(self):
        logits = np.array([[[0.0, 2.0]], [[4.0, 0.0]]])
        np.testing.assert_allclose(losses.ensemble_logits(logits), [[2.0, 1.0]])

    def test_weights(self):
        logits = np.array([[[0.0, 2.0]], [[4.0, 0.0]]], dtype="float32")
        result = losses.ensemble_logits(keras.ops.convert_to_tensor(logits), (0.25, 0.75))
        np.testing.assert_allclose(result, [[3.0, 0.5]])


class TestLabelLoss:
    def test_literal_values(self):
        # -log(1/2), and -log(e / (e + 1)).
        logits = np.array([[0.0, 0.0], [1.0, 0.0]])
        result = losses.label_loss(np.array([1, 0]), logits)
        np.testing.assert_allclose(result, [0.69314718, 0.31326169], rtol=1e-6)

    def test_against_numpy_for_stacked_students(self, rng):
        logits = rng.normal(size=(3, 5, 4))
        labels = rng.integers(0, 4, 5)
        expected = [[-np.log(softmax(z)[i, y]) for i, y in enumerate(labels)] for z in logits]
        np.testing.assert_allclose(losses.label_loss(labels, logits), expected, rtol=1e-5)

    def test_soft_labels(self, rng):
        logits, soft = rng.normal(size=(5, 4)), softmax(rng.normal(size=(5, 4)))
        expected = -(soft * np.log(softmax(logits))).sum(-1)
        np.testing.assert_allclose(losses.label_loss(soft, logits), expected, rtol=1e-5)

    def test_column_of_indices(self):
        logits = np.array([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
        flat = losses.label_loss(np.array([0, 1]), logits)
        np.testing.assert_array_equal(losses.label_loss(np.array([[0], [1]]), logits), flat)

    def test_large_logits_stay_finite(self):
        result = losses.label_loss(np.array([0]), np.array([[0.0, 1e4]], dtype="float32"))
        np.testing.assert_allclose(result, [1e4])

    def test_wrong_shape(self):
        with pytest.raises(ValueError, match=r"Labels must be .*Received: shape \(2, 3\)"):
            losses.label_loss(np.zeros((2, 3)), np.zeros((2, 4)))


class TestDistillationLoss:
    def test_literal_value(self):
        # Teacher softmax([2, 0] / 2) = [0.731059, 0.268941], student uniform:
        # KL = sum p log(2 p) = 0.110944, times T² = 4.
        result = losses.distillation_loss(np.array([[2.0, 0.0]]), np.array([[0.0, 0.0]]), 2.0)
        np.testing.assert_allclose(result, [0.443777], rtol=1e-5)

    @pytest.mark.parametrize("temperature", [1.0, 2.0, 8.0])
    def test_against_numpy(self, rng, temperature):
        teacher, students = rng.normal(size=(5, 4)), rng.normal(size=(3, 5, 4))
        p, q = softmax(teacher / temperature), softmax(students / temperature)
        expected = temperature**2 * (p * np.log(p / q)).sum(-1)
        result = losses.distillation_loss(teacher, students, temperature)
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-7)

    def test_zero_when_equal(self, rng):
        logits = rng.normal(size=(5, 4))
        np.testing.assert_allclose(losses.distillation_loss(logits, logits, 3.0), 0, atol=1e-6)

    def test_teacher_gets_no_gradient(self, rng):
        teacher, student = (tf.Variable(rng.normal(size=(5, 4))) for _ in range(2))
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(losses.distillation_loss(teacher * 1.0, student * 1.0, 2.0))
        to_teacher, to_student = tape.gradient(loss, [teacher, student])
        assert to_teacher is None
        # d/dz of T² KL is T (q - p).
        p, q = softmax(teacher.numpy() / 2), softmax(student.numpy() / 2)
        np.testing.assert_allclose(to_student, 2 * (q - p), rtol=1e-5, atol=1e-7)


class TestFeatureLoss:
    def test_mean_over_all_but_the_batch(self, rng):
        target, adapted = rng.normal(size=(2, 5, 3, 3, 4)).astype("float32")
        expected = ((target - adapted) ** 2).mean((1, 2, 3))
        np.testing.assert_allclose(losses.feature_loss(target, adapted), expected, rtol=1e-5)

    def test_relative_to_the_targets_mean_square(self, rng):
        target, adapted = rng.normal(size=(2, 5, 3, 3, 4)).astype("float32") * [[[[[3.0]]]]]
        expected = ((target - adapted) ** 2).mean((1, 2, 3)) / ((target**2).mean((1, 2, 3)) + 0.01)
        loss = losses.feature_loss(target, adapted, relative=True)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
        # 4 / (4 + 0.01), and a student of zeros.
        loss = losses.feature_loss(2 * np.ones((1, 1, 1, 3)), np.zeros((1, 1, 1, 3)), True)
        np.testing.assert_allclose(loss, [0.99750623], rtol=1e-6)

    def test_half_precision_does_not_overflow(self):
        target = tf.zeros((1, 4, 4, 2), "float16")
        adapted = tf.fill((1, 4, 4, 2), tf.constant(1000.0, "float16"))
        np.testing.assert_allclose(losses.feature_loss(target, adapted), [1e6])

    def test_target_gets_no_gradient(self, rng):
        target, adapted = (tf.Variable(rng.normal(size=(1, 2, 2, 1))) for _ in range(2))
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(losses.feature_loss(target * 1.0, adapted * 1.0))
        to_target, to_adapted = tape.gradient(loss, [target, adapted])
        assert to_target is None
        np.testing.assert_allclose(to_adapted, (adapted - target) / 2, rtol=1e-5)
