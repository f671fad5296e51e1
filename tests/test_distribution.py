"""Two replicas against one device."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import small_ensemble

import oekd_tf
from oekd_tf.distribution import evaluation_batch_size, make_strategy

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


@pytest.fixture
def both(mirrored):
    def both(examples, optimizer, **arguments):
        one = train(make_strategy("none"), examples, optimizer, **arguments)
        return one, train(mirrored, examples, optimizer, **arguments)

    return both


def compare(one, two, losses, weights):
    for first, second in ((one[0], two[0]), (one[2], two[2])):
        assert first.keys() == second.keys()
        for name in first:
            np.testing.assert_allclose(second[name], first[name], rtol=losses, err_msg=name)
    for path in one[1]:
        np.testing.assert_allclose(two[1][path], one[1][path], atol=weights, err_msg=path)


@pytest.mark.parametrize(
    "optimizer", [lambda: oekd_tf.optimizers.SGD(0.05, 0.9), lambda: keras.optimizers.SGD(0.05)]
)
def test_two_replicas_train_as_one(both, images, optimizer):
    compare(*both(images[:2], optimizer), losses=1e-4, weights=2.4e-4)


def test_sample_weights(both, images):
    compare(*both(images, lambda: oekd_tf.optimizers.SGD(0.05)), losses=1e-4, weights=2.4e-4)


def test_adam(both, images):
    # Adam divides by the gradient's size, so that rounding in tiny gradients shows.
    one, two = both(images[:2], lambda: oekd_tf.optimizers.Adam(1e-3))
    compare(one, two, losses=2e-3, weights=2e-3)


def test_last_batch_that_does_not_divide(both, images):
    # 137 = 8 · 16 + 9: the last batch is split 5 to 4, and each share must count by its size.
    examples = tuple(part[:137] for part in images[:2])
    one, two = both(examples, lambda: oekd_tf.optimizers.SGD(0.05), norm=False)
    compare(one, two, losses=1e-4, weights=2.4e-4)


def test_batch_norm_that_is_not_synchronized_differs(mirrored, images):
    keras.utils.set_random_seed(0)
    with mirrored.scope():
        ensemble = small_ensemble(synchronized=False)
        ensemble.compile(oekd_tf.optimizers.SGD(0.05))
    data = tf.data.Dataset.from_tensor_slices(images[:2]).batch(BATCH)
    apart = ensemble.fit(data, verbose=0).history["loss"]
    together = train(mirrored, images[:2], lambda: oekd_tf.optimizers.SGD(0.05))[0]["loss"]
    assert abs(apart[0] - together[0]) > 1e-4


def test_mixed_precision_on_two_replicas(both, images):
    one, two = both(
        images[:2], lambda: oekd_tf.optimizers.SGD(0.05), dtype="mixed_float16", norm=False
    )
    compare(one, two, losses=2e-2, weights=2e-2)


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
    assert size >= 2
    assert examples % size != 1
    assert evaluation_batch_size(make_strategy("none"), examples, batch_size) == min(
        examples, batch_size
    )


def test_fewer_examples_than_replicas(mirrored):
    with pytest.raises(ValueError, match=r"for each of 2 replicas\. Received: 1"):
        evaluation_batch_size(mirrored, 1, 16)


def test_the_cpu_cannot_be_split_once_in_use():
    with pytest.raises(ValueError, match=r"must be split into 64 .*Received: 2 in use"):
        make_strategy("mirrored", logical_cpus=64)
