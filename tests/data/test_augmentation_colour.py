import keras
import numpy as np
import pytest
import tensorflow as tf

from oekd_tf.core.choices import AUGMENTATIONS
from oekd_tf.data.augmentation import _STEPS, augment, color_jitter, draws_needed
from oekd_tf.data.rand_augment import _operations, rand_augment


def test_a_config_takes_the_augmentations_that_there_are():
    assert tuple(_STEPS) == AUGMENTATIONS


def test_a_random_resized_crop_comes_first():
    assert draws_needed(("random_resized_crop", "flip")) == 5
    with pytest.raises(ValueError, match=r"must be the first.*Received: \('flip', 'random_resi"):
        draws_needed(("flip", "random_resized_crop"))


def test_color_jitter_by_hand():
    image = np.zeros((1, 1, 2, 3), np.uint8)
    image[0, 0, 0] = [100, 50, 0]
    image[0, 0, 1] = [200, 200, 200]
    # Factors 1.4, 1, 1: brightness alone.
    np.testing.assert_array_equal(
        color_jitter(tf.constant(image), tf.constant([[1.0, 0.5, 0.5]]))[0, 0],
        [[140, 70, 0], [255, 255, 255]],
    )
    # Contrast 0.6 about the mean grey, (59.25 + 200) / 2 = 129.625.
    np.testing.assert_array_equal(
        color_jitter(tf.constant(image), tf.constant([[0.5, 0.0, 0.5]]))[0, 0],
        [[112, 82, 52], [172, 172, 172]],
    )
    # Saturation 0.6 about each pixel's own grey, 59.25.
    np.testing.assert_array_equal(
        color_jitter(tf.constant(image), tf.constant([[0.5, 0.5, 0.0]]))[0, 0],
        [[84, 54, 24], [200, 200, 200]],
    )


@pytest.mark.parametrize("channels", [1, 3])
class TestRandAugment:
    def images(self, channels):
        rows, columns = np.mgrid[0:24, 0:20]
        image = np.stack([rows * 9 + columns * c for c in range(1, channels + 1)], -1)
        return tf.constant(np.stack([image] * 8), tf.uint8)

    def test_depends_on_the_numbers_alone(self, channels, rng):
        images = self.images(channels)
        draws = tf.constant(rng.uniform(size=(8, 3)), tf.float32)
        first = rand_augment(images, draws)
        assert (first.shape, first.dtype) == (images.shape, tf.uint8)
        graph = tf.function(rand_augment)(images, draws)
        np.testing.assert_array_equal(first, graph)
        # An example's change does not depend on the others of its batch.
        np.testing.assert_array_equal(rand_augment(images[3:5], draws[3:5]), first[3:5])
        assert len({image.tobytes() for image in first.numpy()}) == 8

    def test_every_operation_runs(self, channels):
        images = self.images(channels)
        count = len(_operations(channels == 3))
        assert count == (11 if channels == 3 else 10)
        draws = [[(i + 0.5) / count, (i + 0.5) / count, 0.3] for i in range(count)]
        repeated = tf.repeat(images[:1], count, axis=0)
        results = rand_augment(repeated, tf.constant(draws)).numpy().astype(int)
        changed = [np.abs(result - images[0].numpy()).mean() for result in results]
        # Equalisation and contrast stretching may leave a full ramp nearly as it is.
        assert sum(change > 0.5 for change in changed) >= count - 2
        assert max(changed) < 100


def test_rand_augment_differs_from_example_to_example_and_epoch_to_epoch():
    import oekd_tf

    data = oekd_tf.data.load("fashion_mnist_mini", max_examples=64)
    batches = data.train(64, seed=0, augmentation=("rand_augment",))
    again = data.train(64, seed=0, first_epoch=1, augmentation=("rand_augment",))
    first, second = (images.numpy() for images, _ in batches.take(2))
    np.testing.assert_array_equal(next(iter(again))[0], second)
    assert {i.tobytes() for i in first} != {i.tobytes() for i in second}


def test_augment_gives_each_its_own_numbers(rng):
    images = tf.constant(rng.integers(0, 256, (2, 6, 6, 3)), tf.uint8)
    draws = tf.constant([[0.9, 0.5, 0.5, 0.5], [0.9, 0.5, 0.5, 0.5]])
    np.testing.assert_array_equal(augment(images, ("flip", "color_jitter"), draws), images)


def test_keras_layers_are_used():
    assert all(isinstance(layer, keras.layers.Layer) for layer in _operations(True))
