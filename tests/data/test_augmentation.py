import numpy as np
import pytest
import tensorflow as tf

from oekd_tf.data.augmentation import _STEPS, augment, draws_needed


def test_pad_crop_against_numpy(rng):
    images = rng.integers(1, 256, (81, 10, 12, 3), dtype=np.uint8)
    offsets = np.stack(np.meshgrid(range(9), range(9), indexing="ij"), -1).reshape(-1, 2)
    draws = tf.constant((offsets + 0.5) / 9, tf.float32)
    cropped = _STEPS["pad_crop"].apply(tf.constant(images), draws).numpy()
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    for index, (y, x) in enumerate(offsets):
        np.testing.assert_array_equal(cropped[index], padded[index, y : y + 10, x : x + 12])


def test_flip_mirrors_the_examples_below_one_half(rng):
    images = rng.integers(0, 256, (3, 4, 5, 1), dtype=np.uint8)
    draws = tf.constant([[0.2], [0.5], [0.9]])
    flipped = _STEPS["flip"].apply(tf.constant(images), draws).numpy()
    np.testing.assert_array_equal(flipped[0], images[0][:, ::-1])
    np.testing.assert_array_equal(flipped[1:], images[1:])


def test_each_augmentation_has_draws_of_its_own(rng):
    images = tf.constant(rng.integers(0, 256, (2, 6, 6, 3), dtype=np.uint8))
    draws = tf.constant(rng.random((2, 3)), tf.float32)
    both = augment(images, ("pad_crop", "flip"), draws)
    crop = _STEPS["pad_crop"].apply(images, draws[:, :2])
    np.testing.assert_array_equal(both, _STEPS["flip"].apply(crop, draws[:, 2:]))
    assert both.dtype == tf.uint8


def test_unknown_name():
    assert draws_needed(("pad_crop", "flip")) == 3
    with pytest.raises(ValueError, match=r"one of random_resized_crop, .*Received: 'shear'"):
        draws_needed(("flip", "shear"))
