import numpy as np
import pytest
import tensorflow as tf

import oekd_tf
from oekd_tf.data.mixing import Mixing, beta, cutmix, mix, mixup, smooth

IMAGES = tf.constant([[[[100], [100]], [[100], [100]]], [[[200], [200]], [[200], [200]]]], tf.uint8)
LABELS = tf.constant([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def test_smoothing_by_hand():
    np.testing.assert_allclose(smooth(LABELS, 0.3)[0], [0.8, 0.1, 0.1], rtol=1e-6)


def test_mixup_by_hand():
    images, labels = mixup(IMAGES, LABELS, tf.constant(0.75))
    assert images.numpy().ravel().tolist() == [125] * 4 + [175] * 4
    np.testing.assert_allclose(labels, [[0.75, 0, 0.25], [0.25, 0, 0.75]])


def test_cutmix_labels_have_the_share_of_the_pixels(rng):
    images = tf.constant(np.stack([np.zeros((20, 16, 3)), np.full((20, 16, 3), 9)]), tf.uint8)
    for _ in range(20):
        share, centre = rng.uniform(), rng.uniform(size=2)
        mixed, labels = cutmix(
            images, LABELS, tf.constant(share, tf.float32), tf.constant(centre, tf.float32)
        )
        pasted = (mixed.numpy()[0] == 9).mean()
        np.testing.assert_allclose(labels[0], [1 - pasted, 0, pasted], atol=1e-6)
        assert pasted <= 1 - share + 0.1


def test_cutmix_by_hand():
    images = tf.constant(np.stack([np.zeros((8, 8, 1)), np.ones((8, 8, 1))]), tf.uint8)
    # A quarter of the area, side 4, in the middle.
    mixed, labels = cutmix(images, LABELS, tf.constant(0.75), tf.constant([0.5, 0.5]))
    expected = np.zeros((8, 8))
    expected[2:6, 2:6] = 1
    np.testing.assert_array_equal(mixed[0, :, :, 0], expected)
    np.testing.assert_allclose(labels[0], [0.75, 0, 0.25])


def test_beta_has_its_mean_and_variance():
    values = np.array([beta(0.2, tf.constant([1, seed])) for seed in range(2000)])
    assert abs(values.mean() - 0.5) < 0.03
    assert abs(values.var() - 1 / (4 * (2 * 0.2 + 1))) < 0.02


def test_without_mixing_labels_stay_indices():
    images, labels = mix(IMAGES, tf.constant([0, 2]), 3, Mixing(), tf.constant([0, 0]))
    assert labels.numpy().tolist() == [0, 2]
    assert images is IMAGES


def test_with_both_a_batch_has_one_of_the_two():
    images = tf.constant(np.stack([np.zeros((8, 8, 1)), np.full((8, 8, 1), 200)]), tf.uint8)
    kinds = []
    for seed in range(30):
        mixed, _ = mix(
            images, tf.constant([0, 2]), 3, Mixing(mixup=1.0, cutmix=1.0), tf.constant([seed, 1])
        )
        kinds.append(set(np.unique(mixed)) <= {0, 200})
    assert 5 < sum(kinds) < 25


class TestTrain:
    def data(self):
        return oekd_tf.data.load("fashion_mnist_mini", max_examples=200)

    def test_soft_labels_sum_to_one_and_follow_the_seed(self):
        data = self.data()
        mixing = {"mixup": 0.2, "cutmix": 1.0, "label_smoothing": 0.1}
        batches = [next(iter(data.train(64, seed=s, **mixing))) for s in (0, 0, 1)]
        images, labels = batches[0]
        assert (labels.shape, labels.dtype) == ((64, 10), tf.float32)
        np.testing.assert_allclose(tf.reduce_sum(labels, 1), np.ones(64), rtol=1e-5)
        assert labels.numpy().min() >= 0.0099
        np.testing.assert_array_equal(images, batches[1][0])
        np.testing.assert_array_equal(labels, batches[1][1])
        assert not np.array_equal(images, batches[2][0])

    def test_each_batch_is_mixed_anew(self):
        batches = iter(self.data().train(100, seed=0, mixup=1.0))
        tops = [float(tf.reduce_min(tf.reduce_max(next(batches)[1], 1))) for _ in range(4)]
        assert len(set(tops)) == 4

    @pytest.mark.parametrize(
        "arguments", [{"mixup": -1}, {"cutmix": float("inf")}, {"label_smoothing": 1.0}]
    )
    def test_rules(self, arguments):
        with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be .*Received"):
            self.data().train(64, seed=0, **arguments)
