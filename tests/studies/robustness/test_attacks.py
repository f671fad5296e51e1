"""Adversarial examples: by hand on a linear network, and against another library."""

import keras
import numpy as np
import pytest
from networks import small_ensemble

from oekd_tf.studies.metrics import negative_log_likelihood
from oekd_tf.studies.robustness import fgsm, pgd
from oekd_tf.studies.robustness.properties.attack import whole


@pytest.fixture
def linear(rng):
    """Two classes, whose loss rises with each pixel along a known sign."""
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()])
    model.add(keras.layers.Dense(2))
    kernel = rng.normal(size=(16, 2)).astype(np.float32) / 100
    model.layers[-1].set_weights([kernel, np.zeros(2, np.float32)])
    return model, np.sign(kernel[:, 1] - kernel[:, 0]).reshape(1, 4, 4, 1)


@pytest.fixture
def trained(batch):
    """A small student that has learned its eight images."""
    images, labels = batch
    student = small_ensemble().students[0]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    student.compile(keras.optimizers.Adam(0.01), loss)
    student.fit(images, labels, epochs=30, verbose=0)
    return student


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_a_linear_network_by_hand(linear, attack):
    model, rises = linear
    images = np.full((3, 4, 4, 1), 100, np.uint8)
    labels = np.array([0, 1, 0])
    changed = attack(model, images, labels, 8.0)
    expected = 100 + 8 * rises * np.array([1, -1, 1]).reshape(3, 1, 1, 1)
    # Twenty steps of a quarter reach the corner from wherever they begin.
    np.testing.assert_allclose(changed, expected, atol=1e-4)
    assert changed.dtype == np.float32


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_pixels_stay_pixels(linear, attack):
    images = np.array([0, 255], np.uint8).reshape(2, 1, 1, 1) * np.ones((1, 4, 4, 1), np.uint8)
    changed = attack(linear[0], images, np.array([0, 0]), 8.0)
    assert changed.min() == 0
    assert changed.max() == 255
    assert np.abs(changed - images).max() == 8


def test_one_step_without_start_is_the_sign(linear, batch):
    model, rises = linear
    images = np.full((1, 4, 4, 1), 100, np.uint8)
    found = pgd(model, images, np.array([0]), 8.0, steps=1, step_size=3.0, random_start=False)
    np.testing.assert_allclose(found, 100 + 3 * rises, atol=1e-4)
    one, two = (pgd(model, images, np.array([0]), 8.0, steps=1, seed=seed) for seed in (1, 2))
    assert (one != two).any()
    np.testing.assert_array_equal(one, pgd(model, images, np.array([0]), 8.0, steps=1, seed=1))


def test_the_loss_rises_and_weights_stay(trained, batch):
    images, labels = batch
    before = trained.get_weights()
    losses = [
        negative_log_likelihood(trained.predict(changed, verbose=0), labels)
        for changed in (images, fgsm(trained, images, labels, 4), pgd(trained, images, labels, 4))
    ]
    assert losses[0] < losses[1] < losses[2]
    for old, new in zip(before, trained.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_batches_do_not_matter(trained, batch):
    images, labels = (np.tile(array, (20, *[1] * (array.ndim - 1))) for array in batch)
    np.testing.assert_allclose(
        fgsm(trained, images, labels, 4)[-8:], fgsm(trained, *batch, 4), atol=1e-3
    )


def test_whole_pixels_are_no_further(rng):
    images = rng.integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    changed = np.clip(images + rng.uniform(-2.5, 2.5, images.shape), 0, 255)
    found = whole(changed, images, 2.5)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - images).max() == 2


@pytest.mark.parametrize(
    ("attack", "arguments", "message"),
    [
        (fgsm, {"epsilon": 0}, "epsilon must be above 0 and at most 255. Received: 0"),
        (pgd, {"epsilon": 256}, "epsilon must be above 0 and at most 255. Received: 256"),
        (fgsm, {"labels": np.zeros(3)}, "images must be .* of at least one image"),
        (fgsm, {"labels": np.array([0, 2])}, r"labels must be from 0 to 1\. Received: 0 to 2"),
        (pgd, {"labels": np.zeros(2)}, r"labels must be whole numbers\. Received: float64"),
        (pgd, {"images": np.ones((2, 8, 4, 1))}, r"images must be of shape \(4, 4, 1\) each"),
        (pgd, {"images": np.ones((2, 4, 4, 1))}, "images must be raw pixels from 0 to 255"),
        (pgd, {"images": np.zeros((0, 4, 4, 1)), "labels": np.zeros(0)}, "of at least one image"),
        (pgd, {"steps": 0}, "steps must be at least 1. Received: 0"),
        (pgd, {"step_size": 0.0}, "step_size must be above 0. Received: 0.0"),
        (pgd, {"seed": -1}, "seed must be at least 0. Received: -1"),
    ],
)
def test_bad_input(linear, attack, arguments, message):
    labels = np.zeros(2, int)
    good = {"images": np.zeros((2, 4, 4, 1), np.uint8), "labels": labels, "epsilon": 4}
    with pytest.raises(ValueError, match=message):
        attack(linear[0], **{**good, **arguments})


def test_an_ensemble_is_several_networks(batch):
    with pytest.raises(ValueError, match=r"model must be one network, such as ensemble.students"):
        fgsm(small_ensemble(), *batch, 4)


@pytest.mark.slow
def test_against_foolbox(trained, batch, monkeypatch):
    foolbox = pytest.importorskip(
        "foolbox", reason="foolbox is no dependency: pip install foolbox to compare with it"
    )
    import tensorflow as tf

    # eagerpy 0.30, which foolbox needs, calls what NumPy 2 has no more.
    monkeypatch.setattr(
        np, "find_common_type", lambda arrays, scalars: np.result_type(*arrays, *scalars),
        raising=False,
    )  # fmt: skip
    images, labels = batch
    network = foolbox.TensorFlowModel(trained, bounds=(0, 255), device="/CPU:0")
    pixels, classes = tf.constant(images, tf.float32), tf.constant(labels)
    for theirs, ours in (
        (foolbox.attacks.FGSM(random_start=False), fgsm(trained, images, labels, 4.0)),
        (
            foolbox.attacks.LinfPGD(rel_stepsize=0.25, steps=20, random_start=False),
            pgd(trained, images, labels, 4.0, random_start=False),
        ),
    ):
        raw, _, _ = theirs(network, pixels, classes, epsilons=4.0)
        logits = [trained.predict(np.asarray(found), verbose=0) for found in (raw, ours)]
        # A gradient of almost nothing may have either sign.
        assert np.mean(np.abs(np.asarray(raw) - ours) > 1e-3) < 0.02
        np.testing.assert_allclose(*(l.argmax(-1) for l in logits))  # noqa: E741
