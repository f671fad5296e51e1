"""Hosts' shares of a batch: together the batch, each example once."""

import numpy as np
import pytest
import tensorflow as tf

import oekd_tf
from oekd_tf.data import Share


@pytest.fixture(scope="module")
def data():
    return oekd_tf.data.load("fashion_mnist_mini", max_examples=200, validation_fraction=0.01)


def hosts(replicas, hosts):
    count = replicas // hosts
    return [Share(replicas, host * count, count) for host in range(hosts)]


def together(shares_batches, count):
    """The global batches that elements of all hosts make up, `count` elements a host each."""
    streams = [list(batches.as_numpy_iterator()) for batches in shares_batches]
    assert len({len(stream) for stream in streams}) == 1
    for start in range(0, len(streams[0]), count):
        parts = [part for stream in streams for part in stream[start : start + count]]
        yield [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


@pytest.mark.parametrize(("replicas", "number"), [(2, 2), (4, 2), (4, 4), (3, 1)])
@pytest.mark.parametrize("mixup", [0.0, 0.3])
def test_training_batches(data, replicas, number, mixup):
    def batches(share=None):
        return data.train(24, seed=5, mixup=mixup, first_epoch=1, first_step=2, share=share)

    expected = list(batches().take(9).as_numpy_iterator())
    count = replicas // number
    shares = [batches(share).take(9 * count) for share in hosts(replicas, number)]
    for whole, parts in zip(expected, together(shares, count), strict=True):
        for one, other in zip(whole, parts, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("replicas", "number"), [(2, 2), (4, 2), (16, 16)])
def test_a_last_batch_that_does_not_divide(data, replicas, number):
    # 2,000 = 3 · 600 + 200, and 600 and 200 do not divide by 16.
    expected = list(data.test(600).as_numpy_iterator())
    shares = [data.test(600, share) for share in hosts(replicas, number)]
    for whole, parts in zip(expected, together(shares, replicas // number), strict=True):
        for one, other in zip(whole, parts, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_host_fetches_its_rows_only(data, monkeypatch):
    fetched = []
    original = type(data._train).fetch

    def fetch(self, references, crops=None):
        tf.numpy_function(lambda rows: fetched.append(len(rows)), [references], [])
        return original(self, references, crops)

    monkeypatch.setattr(type(data._train), "fetch", fetch)
    seen = []
    for share in hosts(2, 2):
        batches = data.train(20, seed=0, share=share).take(10).as_numpy_iterator()
        seen.append({image.tobytes() for images, _ in batches for image in images})
    # Half a batch each time, also of what is fetched ahead.
    assert set(fetched) == {10}
    assert len(seen[0] | seen[1]) == 200
    assert not seen[0] & seen[1]


def test_a_run_that_starts_within_an_epoch(data):
    whole = list(data.train(64, seed=3).take(7).as_numpy_iterator())
    later = list(data.train(64, seed=3, first_epoch=1, first_step=2).take(2).as_numpy_iterator())
    # Three steps an epoch.
    for (one, _), (other, _) in zip(whole[5:], later, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("start", [{"first_step": 3}, {"first_step": -1}, {"first_epoch": -1}])
def test_refusals(data, start):
    with pytest.raises(ValueError, match=r"first_step from 0 and below 3\. Received: "):
        data.train(64, seed=0, **start)
