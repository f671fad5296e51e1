"""Strategies, and what they are given."""

import math
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import small_ensemble

import oekd_tf
from oekd_tf.models.distributed.strategy import evaluation_batch_size, make_strategy

BATCHES, BATCH = 9, 16


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    count = BATCHES * BATCH
    return (
        rng.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8),
        rng.integers(0, 4, count).astype(np.int32),
        rng.random(count).astype(np.float32),
    )


def train(strategy, examples, optimizer, batch=BATCH, **network):
    """History of one epoch, the weights after it, and an evaluation."""
    keras.utils.set_random_seed(0)
    with strategy.scope():
        ensemble = small_ensemble(synchronized=strategy.num_replicas_in_sync > 1, **network)
        ensemble.compile(optimizer())
    data = tf.data.Dataset.from_tensor_slices(examples).batch(batch)
    history = ensemble.fit(data, verbose=0).history
    weights = {v.path: v.numpy() for v in ensemble.variables}
    return history, weights, ensemble.evaluate(data, verbose=0, return_dict=True)


@pytest.mark.slow
def test_batch_norm_that_is_not_synchronized_differs(mirrored, images):
    keras.utils.set_random_seed(0)
    with mirrored.scope():
        ensemble = small_ensemble(synchronized=False)
        ensemble.compile(oekd_tf.optimizers.SGD(0.05))
    data = tf.data.Dataset.from_tensor_slices(images[:2]).batch(BATCH)
    apart = ensemble.fit(data, verbose=0).history["loss"]
    together = train(mirrored, images[:2], lambda: oekd_tf.optimizers.SGD(0.05))[0]["loss"]
    assert abs(apart[0] - together[0]) > 1e-4


def test_auto_is_one_device_without_gpus():
    assert make_strategy("auto").num_replicas_in_sync == 1


def test_unknown_strategy():
    with pytest.raises(
        ValueError, match=r"auto, none, mirrored, multi_worker, tpu\. Received: 'gpu'"
    ):
        make_strategy("gpu")


@pytest.mark.parametrize(
    ("examples", "batch_size", "expected"),
    [(137, 16, 16), (33, 16, 15), (16, 16, 16), (10, 16, 10), (5, 4, 3), (2, 1, 2), (3, 2, 3)],
)
def test_no_replica_is_left_without_an_example(mirrored, examples, batch_size, expected):
    size = evaluation_batch_size(mirrored, examples, batch_size)
    assert size == expected
    assert 1 not in (size, examples % size)
    assert evaluation_batch_size(make_strategy("none"), examples, batch_size) == min(
        examples, batch_size
    )


@pytest.mark.parametrize("replicas", [2, 3, 4])
@pytest.mark.parametrize("examples", [*range(16, 60), 137, 2000])
def test_every_split_can_be_shared_out(replicas, examples):
    strategy = types.SimpleNamespace(num_replicas_in_sync=replicas)
    size = evaluation_batch_size(strategy, examples, 16)
    for count in {size, examples % size} - {0}:
        taken = math.ceil(count / replicas) * (replicas - 1)
        assert taken < count


def test_fewer_examples_than_replicas(mirrored):
    with pytest.raises(ValueError, match=r"^Cannot evaluate 1 examples on 2 replicas"):
        evaluation_batch_size(mirrored, 1, 16)


def test_the_cpu_cannot_be_split_once_in_use():
    with pytest.raises(ValueError, match=r"must be split into 64 .*Received: 2 in use"):
        make_strategy("mirrored", logical_cpus=64)
