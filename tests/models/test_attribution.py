"""Integrated gradients: completeness, by hand, and how networks are compared."""

import keras
import numpy as np
import pytest
from networks import small_ensemble
from PIL import Image

from oekd_tf.models.attribution import (
    draw_maps,
    integrated_gradients,
    rank_correlation,
    saliency,
)


@pytest.fixture
def trained(batch):
    ensemble = small_ensemble(mean=100.0, std=50.0)
    ensemble.compile(keras.optimizers.Adam(0.01))
    ensemble.fit(*batch, epochs=10, verbose=0)
    return ensemble


def test_completeness(trained, batch):
    images, labels = batch
    for student in trained.students:
        found = integrated_gradients(student, images, labels, steps=200)
        grey = np.full_like(images, 100)
        logits, before = (student.predict(x, verbose=0)[range(8), labels] for x in (images, grey))
        np.testing.assert_allclose(found.sum((1, 2, 3)), logits - before, rtol=0.02, atol=0.02)
        # The default baseline is the network's own mean.
        np.testing.assert_array_equal(
            found, integrated_gradients(student, images, labels, steps=200, baseline=100.0)
        )
        assert found.dtype == np.float32
        assert found.shape == images.shape


def test_a_linear_network_by_hand(rng):
    model = keras.Sequential([keras.Input((3, 3, 2)), keras.layers.Flatten()])
    model.add(keras.layers.Dense(4))
    images = rng.integers(0, 256, (5, 3, 3, 2), dtype=np.uint8)
    labels = np.array([0, 1, 2, 3, 0])
    kernel = model.layers[-1].get_weights()[0]
    # Weight times distance, whatever the number of steps.
    expected = kernel.T[labels].reshape(5, 3, 3, 2) * (images - np.array([10.0, 20.0]))
    for steps in (1, 7):
        found = integrated_gradients(model, images, labels, steps, baseline=(10.0, 20.0))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_a_square_needs_two_nodes():
    """Gauss-Legendre with two nodes is exact for the gradient of a cube."""
    images = keras.Input((1, 1, 1))
    cube = keras.layers.Flatten()(images**3 / 1e4)
    model = keras.Model(images, keras.layers.Concatenate()([cube, -cube]))
    found = integrated_gradients(model, np.full((1, 1, 1, 1), 60.0), [1], 2, baseline=20.0)
    assert found.item() == pytest.approx(-(60**3 - 20**3) / 1e4, rel=1e-5)


def test_without_a_preparation_the_baseline_is_grey():
    model = keras.Sequential(
        [keras.Input((1, 1, 1)), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    model.layers[-1].set_weights([np.ones((1, 1)), np.zeros(1)])
    assert integrated_gradients(model, np.zeros((1, 1, 1, 1)), [0]).item() == pytest.approx(-127.5)


def test_batches_do_not_matter(trained, batch):
    student, (images, labels) = trained.students[0], batch
    many = integrated_gradients(student, np.tile(images, (20, 1, 1, 1)), np.tile(labels, 20), 4)
    one = integrated_gradients(student, images, labels, 4)
    np.testing.assert_allclose(many[-8:], one, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": np.zeros((16, 16, 3))}, "images must be .* of at least one image"),
        ({"images": np.zeros((0, 16, 16, 3)), "labels": []}, "of at least one image"),
        ({"labels": [0, 9]}, r"labels must be from 0 to 3\. Received: 0 to 9"),
        ({"steps": 0}, r"steps must be at least 1\. Received: 0"),
        ({"baseline": (1.0, 2.0)}, "baseline must be None, a number, or one for each of the 3"),
        ({"baseline": float("nan")}, "baseline must be None, a number"),
    ],
)
def test_bad_input(arguments, message):
    good = {"images": np.zeros((2, 16, 16, 3)), "labels": [0, 1]}
    with pytest.raises(ValueError, match=message):
        integrated_gradients(small_ensemble().students[0], **{**good, **arguments})


def test_rank_correlation_by_hand(rng):
    maps = rng.random((4, 5, 6))
    np.testing.assert_allclose(rank_correlation(maps, maps**3), 1.0)
    np.testing.assert_allclose(rank_correlation(maps, -maps), -1.0)
    # 1 − 6 Σ d² / (n (n² − 1)) with d = (0, 1, 1).
    assert rank_correlation([[[1.0, 2.0, 3.0]]], [[[10.0, 30.0, 20.0]]]) == pytest.approx(0.5)
    # Ties share their ranks: (1.5, 1.5, 3) beside (1, 2, 3).
    assert rank_correlation([[[1.0, 1.0, 2.0]]], [[[1.0, 2.0, 3.0]]]) == pytest.approx(0.866025)
    np.testing.assert_array_equal(rank_correlation(np.ones((2, 3, 3)), maps[:2, :3, :3]), 0.0)
    with pytest.raises(ValueError, match="must both be"):
        rank_correlation(maps, maps[:2])


def test_the_picture(trained, batch, tmp_path):
    images, labels = batch
    maps = {
        student.name: saliency(integrated_gradients(student, images[:3], labels[:3], 4))
        for student in trained.students
    }
    with pytest.raises(ValueError, match=r"maps must be of shape \(2, 16, 16\), as the images"):
        draw_maps(tmp_path / "none.png", images[:2], maps)
    for name, shown in (("colour.png", images[:3]), ("grey.png", images[:3, :, :, :1])):
        draw_maps(tmp_path / name, shown, maps, titles=["a", "b_$c", "d"])
        with Image.open(tmp_path / name) as picture:
            pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
        assert len(np.unique(pixels, axis=0)) > 200
