"""Training examples left out by class."""

import numpy as np
import pytest

import oekd_tf
from oekd_tf.data.long_tail import thinned


def counts(kept, labels):
    return np.bincount(labels[kept], minlength=labels.max() + 1).tolist()


def test_the_profile_by_hand(rng):
    labels = np.repeat(np.arange(5), 100)
    order = rng.permutation(500)
    # 100 · 16^(−c/4): a half less with each class.
    assert counts(thinned(order, labels, 16.0), labels) == [100, 50, 25, 12, 6]
    assert counts(thinned(order, labels, 1.0), labels) == [100] * 5
    assert counts(thinned(order, labels, 1.0, 30), labels) == [30] * 5
    assert counts(thinned(order, labels, 16.0, 40), labels) == [40, 20, 10, 5, 2]
    # One is left of every class.
    assert counts(thinned(order, labels, 1e6), labels)[-1] == 1
    # More of a tail keeps a part of less of one, in the same order.
    few, many = thinned(order, labels, 100.0), thinned(order, labels, 10.0)
    assert set(few) < set(many)
    assert [n for n in order if n in set(few)] == few.tolist()


def test_a_class_that_has_fewer_keeps_all():
    labels = np.array([0] * 3 + [1] * 40 + [2] * 40)
    assert counts(thinned(np.arange(83), labels, 4.0), labels) == [3, 20, 10]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"imbalance": 0.5}, r"imbalance must be at least 1\. Received: 0.5"),
        ({"imbalance": float("nan")}, r"imbalance must be at least 1\. Received: nan"),
        ({"per_class": 0}, r"examples_per_class must be at least 1, or None\. Received: 0"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        thinned(np.arange(2), np.array([0, 1]), **arguments)


def test_only_training_examples_are_left_out(rng):
    images = rng.integers(0, 256, (200, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(200) % 4
    test = (images[:40], labels[:40])
    arrays = {"train": (images, labels), "test": test}
    whole = oekd_tf.data.load(arrays, validation_fraction=0.2)
    tail = oekd_tf.data.load(arrays, validation_fraction=0.2, imbalance=8.0)
    assert whole.class_counts.tolist() == [40] * 4
    assert tail.class_counts.tolist() == [40, 20, 10, 5]
    assert tail.num_validation == whole.num_validation
    assert tail.num_test == whole.num_test
    # Another data set in the contract of a run.
    prints = [data.fingerprints() for data in (whole, tail)]
    assert prints[0]["train"] != prints[1]["train"]
    assert prints[0]["validation"] == prints[1]["validation"]
    few = oekd_tf.data.load(arrays, validation_fraction=0.2, examples_per_class=3, split_seed=4)
    assert few.class_counts.tolist() == [3] * 4


def test_of_a_data_set_by_name():
    data = oekd_tf.data.load("fashion_mnist_mini", imbalance=10.0, examples_per_class=50)
    assert data.class_counts.tolist() == [50, 39, 30, 23, 18, 14, 11, 8, 6, 5]


def test_images_whose_labels_are_not_at_hand():
    with pytest.raises(ValueError, match=r"must be left out for images .*cache='decoded'"):
        oekd_tf.data.load("fashion_mnist_mini", imbalance=10.0, cache="encoded")
