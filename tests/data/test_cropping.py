import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from oekd_tf.data.cropping import central_window, crop_and_resize, random_window
from oekd_tf.data.decoding import ImageDecoder
from oekd_tf.device.pictures import decode


def smooth_image(height, width):
    rows, columns = np.mgrid[0:height, 0:width]
    channels = [rows * 255 / height, columns * 255 / width, (rows + columns) * 127 / height]
    return np.clip(np.stack(channels, -1), 0, 255).astype(np.uint8)


def encoded(image, file_format):
    file = io.BytesIO()
    Image.fromarray(image).save(file, file_format, quality=95)
    return file.getvalue()


def test_a_window_by_hand():
    # Half of 0.08..1 is 0.54 of 100 × 200; at ratio 1 a square of 103.9, cut off at 100.
    window = random_window(tf.constant([100, 200]), tf.constant([0.5, 0.5, 0.9, 0.5]))
    assert window.numpy().tolist() == [0, 48, 100, 104]


def test_windows_lie_within_the_image_and_have_the_areas_asked_for(rng):
    draws = tf.constant(rng.uniform(0, 1, (2000, 4)), tf.float32)
    size = tf.constant([[120, 90]] * 2000)
    top, left, height, width = random_window(size, draws).numpy().T
    assert min(top.min(), left.min()) == 0
    assert (top + height).max() == 120
    assert (left + width).max() == 90
    area = height * width / (120 * 90)
    assert 0.07 < area.min() < 0.1
    assert area.max() > 0.9
    ratio = width / height
    assert 0.7 < np.quantile(ratio, 0.01) < 0.8
    assert 1.25 < np.quantile(ratio, 0.99) < 1.4


def test_a_window_of_a_single_pixel_image():
    window = random_window(tf.constant([1, 1]), tf.constant([0.0, 0.0, 0.999, 0.999]))
    assert window.numpy().tolist() == [0, 0, 1, 1]


def test_the_central_window_is_the_fields_224_of_256():
    # 500 × 375 to 256 on the shorter side and 224 of that is 328 × 328 of the original.
    window = central_window(tf.constant([500, 375]), (224, 224), 0.875)
    assert window.numpy().tolist() == [86, 23, 328, 328]


def test_the_whole_image_as_a_window_is_the_image(rng):
    images = tf.constant(rng.integers(0, 256, (3, 9, 9, 2)), tf.uint8)
    # All of the area at ratio 1, from the corner.
    draws = tf.constant([[1.0, 0.5, 0.0, 0.0]] * 3)
    np.testing.assert_array_equal(crop_and_resize(images, draws), images)


def test_crops_of_arrays_are_those_of_their_windows():
    image = smooth_image(40, 40)
    draws = tf.constant([[0.2, 0.4, 0.3, 0.8]])
    top, left, height, width = random_window(tf.constant([[40, 40]]), draws).numpy()[0]
    window = image[top : top + height, left : left + width]
    expected = np.array(Image.fromarray(window).resize((40, 40), Image.BILINEAR))
    got = crop_and_resize(tf.constant(image[None]), draws).numpy()[0]
    # Two ways to place the samples: at most half a pixel of the window, 6 levels here.
    assert np.abs(got.astype(int) - expected).max() <= 8


@pytest.mark.parametrize(("file_format", "tolerance"), [("JPEG", 1), ("PNG", 0)])
def test_only_the_window_is_decoded_and_it_is_that_of_the_image(file_format, tolerance):
    content = tf.constant(encoded(smooth_image(97, 61), file_format))
    draws = tf.constant([0.3, 0.6, 0.7, 0.2])
    top, left, height, width = random_window(tf.constant([97, 61]), draws).numpy()
    whole = decode(content.numpy(), 3)
    window = whole[top : top + height, left : left + width]
    expected = np.round(tf.image.resize(window, (32, 24), antialias=True))
    got = ImageDecoder((32, 24, 3), varying=True).random_crop(content, draws)
    assert np.abs(got.numpy().astype(int) - expected).max() <= tolerance


def test_evaluation_cuts_out_the_middle_of_images_that_differ_in_size():
    content = tf.constant(encoded(smooth_image(50, 40), "PNG"))
    got = ImageDecoder((28, 28, 3), varying=True, central_crop=0.7).whole(content)
    np.testing.assert_array_equal(got, smooth_image(50, 40)[11:39, 6:34])


def test_an_image_that_has_the_size_is_not_cut():
    image = smooth_image(28, 28)
    decoder = ImageDecoder((28, 28, 3), varying=True)
    np.testing.assert_array_equal(decoder.whole(tf.constant(encoded(image, "PNG"))), image)


def test_images_of_one_size_are_resized_whole():
    content = tf.constant(encoded(smooth_image(50, 40), "PNG"))
    got = ImageDecoder((25, 20, 3)).whole(content)
    expected = np.round(tf.image.resize(smooth_image(50, 40), (25, 20), antialias=True))
    np.testing.assert_array_equal(got, expected)
