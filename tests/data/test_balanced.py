"""Balanced epochs, and counts of classes, wherever the labels are."""

import numpy as np
import pytest
import tensorflow as tf
from test_load import SHARED, numbered

import oekd_tf
from oekd_tf.core.errors import ConfigError
from oekd_tf.data.balanced import BalancedOrder
from oekd_tf.data.npz import ArrayData

# 2, 5 and 20 of 27 examples; class 3 has none.
LABELS = np.repeat([1, 0, 2], [2, 5, 20])


def draws(labels, seed, epoch):
    """The same epoch by both ways."""
    order = BalancedOrder(labels)
    epoch = tf.constant(epoch, tf.int64)
    return order.draw(np.random.default_rng((seed, 0))), order.draw_tensor(seed, epoch).numpy()


class TestOrder:
    @pytest.mark.parametrize("seed", [0, 1])
    def test_every_class_equally_often(self, seed):
        for drawn in draws(LABELS, seed, epoch=3):
            assert len(drawn) == 27
            assert np.bincount(LABELS[drawn]).tolist() == [9, 9, 9]

    def test_what_is_left_over_goes_to_some(self):
        for drawn in draws(LABELS[1:], 0, epoch=0):
            assert sorted(np.bincount(LABELS[1:][drawn])) == [8, 9, 9]

    def test_examples_come_back_only_after_all_others(self):
        for drawn in draws(LABELS, 0, epoch=0):
            times = np.bincount(drawn, minlength=27)
            assert sorted(times[:2]) == [4, 5]
            assert sorted(times[2:7]) == [1, 2, 2, 2, 2]
            assert times[7:].max() == 1

    def test_balanced_data_are_a_permutation(self):
        for drawn in draws(np.arange(12) % 3, 0, epoch=0):
            assert sorted(drawn) == list(range(12))

    def test_a_function_of_seed_and_epoch(self):
        first, again, later, other = (
            draws(LABELS, seed, epoch)[1] for seed, epoch in ((5, 1), (5, 1), (5, 2), (6, 1))
        )
        assert first.tolist() == again.tolist()
        assert first.tolist() != later.tolist()
        assert first.tolist() != other.tolist()
        # Frequent classes have others of their examples each epoch.
        assert set(first[first > 6]) != set(later[later > 6])


def arrays(kind):
    images, _ = numbered(27)
    if kind == "tf.data":
        return oekd_tf.data.load(
            (images, LABELS), validation_fraction=0.0, class_names=["a", "b", "c"]
        )
    return ArrayData("mine", images, LABELS, images, LABELS, validation_fraction=0.0)


def read(data, count, **arguments):
    batches = data.train(9, seed=2, sampling="balanced", **{"augmentation": (), **arguments})
    batches = batches.take(count) if isinstance(batches, tf.data.Dataset) else batches
    found = []
    for _, (images, labels) in zip(range(count), batches, strict=False):
        found.append((np.asarray(images), np.asarray(labels)))
    return found


@pytest.mark.parametrize("kind", ["tf.data", "arrays"])
class TestBatches:
    def test_an_epoch(self, kind):
        data = arrays(kind)
        assert data.steps_per_epoch(9) == 3
        epoch = read(data, 3)
        labels = np.concatenate([labels for _, labels in epoch])
        images = np.concatenate([images for images, _ in epoch])
        assert np.bincount(labels).tolist() == [9, 9, 9]
        assert LABELS[images[:, 0, 0, 0]].tolist() == labels.tolist()

    def test_resumes(self, kind):
        data = arrays(kind)
        arguments = {"augmentation": ("pad_crop", "flip")}
        whole = read(data, 8, **arguments)
        rest = read(data, 3, first_epoch=1, first_step=2, **arguments)
        for (images, labels), (again, same) in zip(whole[5:], rest, strict=True):
            np.testing.assert_array_equal(images, again)
            np.testing.assert_array_equal(labels, same)

    def test_an_example_that_comes_back_is_augmented_anew(self, kind):
        images, labels = (
            np.concatenate(parts)
            for parts in zip(*read(arrays(kind), 3, augmentation=("pad_crop",)), strict=True)
        )
        rare = images[labels == 1]
        assert len(rare) == 9
        assert len(np.unique(rare.reshape(9, -1), axis=0)) > 5

    def test_counts(self, kind):
        assert arrays(kind).class_counts.tolist() == [5, 2, 20]

    def test_a_wrong_name(self, kind):
        with pytest.raises(ValueError, match=r"^sampling must be one of .*Received: 'even'$"):
            arrays(kind).train(9, seed=0, sampling="even")


def test_shares_of_hosts_are_parts_of_the_same_batch():
    data = arrays("tf.data")
    share = oekd_tf.distribution.Share
    (whole, _), *_ = read(data, 1)
    parts = [read(data, 1, share=share(3, index))[0][0] for index in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("cache", ["encoded", "none"])
def test_shards(cache):
    held = {cache: {"cache": cache}, "decoded": {}}
    streamed, decoded = (
        oekd_tf.data.load("fashion_mnist_mini", max_examples=900, **arguments)
        for arguments in held.values()
    )
    assert not streamed.labels_at_hand
    assert decoded.labels_at_hand
    assert streamed.class_counts.sum() == 900
    every, each = (
        oekd_tf.data.load("fashion_mnist_mini", validation_fraction=0, **arguments)
        for arguments in held.values()
    )
    assert every.class_counts.tolist() == each.class_counts.tolist() == [600] * 10
    with pytest.raises(ValueError, match=r"^sampling must be .* cache='decoded'.*'balanced'$"):
        streamed.train(9, seed=0, sampling="balanced")


def test_a_run_of_shards_is_refused_before_training(tmp_path):
    from small_runs import small_config

    from oekd_tf.training import train

    config = small_config(data__cache="none", data__sampling="balanced")
    with pytest.raises(ConfigError, match=r"^config\.data\.sampling must .*cache='decoded'"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_signs():
    if not (SHARED / "gtsrb32").exists():
        pytest.skip("needs shared/data/gtsrb32")
    data = oekd_tf.data.load("gtsrb32", data_dir=str(SHARED), validation_fraction=0.0)
    assert data.num_classes == 43
    assert data.class_counts.max() / data.class_counts.min() > 5
    epoch = data.train(100, seed=0, augmentation=(), sampling="balanced")
    labels = np.concatenate([y for _, y in epoch.take(data.steps_per_epoch(100))])
    counts = np.bincount(labels, minlength=43)
    assert counts.max() - counts.min() < 10
