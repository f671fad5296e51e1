"""Corruptions against values worked out by hand."""

import io

import numpy as np
import pytest
from PIL import Image

from oekd_tf.studies.robustness import corrupt, corruptions


@pytest.fixture
def images(rng):
    """Smooth colour pictures of 32 pixels, as photographs are."""
    coarse = rng.integers(30, 226, (6, 4, 4, 3), dtype=np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(image).resize((32, 32), Image.BICUBIC)) for image in coarse]
    )


def of_one_colour(*colour):
    return np.full((1, 8, 8, len(colour)), colour, np.uint8)


def away(images, name, severity):
    return np.abs(corrupt(images, name, severity).astype(int) - images)


@pytest.mark.parametrize("name", corruptions.names())
def test_every_corruption(images, name):
    found = {severity: corrupt(images, name, severity, seed=1) for severity in (1, 5)}
    for changed in found.values():
        assert changed.dtype == np.uint8
        assert changed.shape == images.shape
        assert (changed != images).any()
    # The first two severities of saturation take colour away, the others add some.
    mean = [np.abs(found[s].astype(int) - images).mean() for s in (1, 5)]
    assert mean[0] < mean[1]
    np.testing.assert_array_equal(corrupt(images, name, 5, seed=1), found[5])
    np.testing.assert_array_equal(corrupt(images[:2], name, 5, seed=1), found[5][:2])
    grey = images[..., :1]
    if name == "saturate":
        with pytest.raises(ValueError, match="name must be one of"):
            corrupt(grey, name, 1)
    else:
        assert corrupt(grey, name, 5).shape == grey.shape


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "fog"])
def test_seeds_differ(images, name):
    assert (corrupt(images, name, 3, seed=0) != corrupt(images, name, 3, seed=1)).any()


@pytest.mark.parametrize(
    ("name", "severity", "deviation"),
    [
        # Of 255: the scale, the root of the value over the photons, the scale times the value.
        ("gaussian_noise", 1, 0.04 * 255),
        ("gaussian_noise", 5, 0.10 * 255),
        ("shot_noise", 1, np.sqrt(128 / 255 / 500) * 255),
        ("shot_noise", 5, np.sqrt(128 / 255 / 50) * 255),
        ("speckle_noise", 3, 0.12 * 128),
    ],
)
def test_size_of_noise(name, severity, deviation):
    grey = np.full((20, 32, 32, 3), 128, np.uint8)
    noise = corrupt(grey, name, severity).astype(float) - 128
    # Whole pixels add a twelfth to the variance.
    assert noise.std() == pytest.approx(np.sqrt(deviation**2 + 1 / 12), rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.3)


def test_impulses_are_black_and_white():
    grey = np.full((20, 32, 32, 3), 100, np.uint8)
    changed = corrupt(grey, "impulse_noise", 5)
    assert set(np.unique(changed)) == {0, 100, 255}
    for value in (0, 255):
        assert (changed == value).mean() == pytest.approx(0.035, abs=0.002)


@pytest.mark.parametrize(
    ("name", "severity", "colour", "expected"),
    [
        # Brightness 0.1: the value 200 becomes 225.5, so all channels times 1.1275.
        ("brightness", 2, (200, 100, 40), (226, 113, 45)),
        # The value ends at 1.
        ("brightness", 5, (255, 100, 0), (255, 100, 0)),
        # Black has no hue, and becomes grey: 0.3 of 255.
        ("brightness", 5, (0, 0, 0), (76, 76, 76)),
        # Saturation 0.8 becomes 0.24: 200 (1 - 0.24), and half of the way for the middle channel.
        ("saturate", 1, (200, 120, 40), (200, 176, 152)),
        # 0.8 becomes 1.
        ("saturate", 5, (200, 120, 40), (200, 100, 0)),
        # Grey has the hue of red; its saturation 0 becomes 0.2.
        ("saturate", 5, (100, 100, 100), (100, 80, 80)),
        # One colour is its own mean.
        ("contrast", 5, (200, 120, 40), (200, 120, 40)),
        ("gaussian_blur", 5, (200, 120, 40), (200, 120, 40)),
        ("defocus_blur", 5, (200, 120, 40), (200, 120, 40)),
        ("zoom_blur", 5, (200, 120, 40), (200, 120, 40)),
        ("pixelate", 5, (200, 120, 40), (200, 120, 40)),
    ],
)
def test_one_colour(name, severity, colour, expected):
    changed = corrupt(of_one_colour(*colour), name, severity)
    np.testing.assert_array_equal(changed, of_one_colour(*expected))


def test_contrast_is_towards_the_mean_of_each_channel():
    image = of_one_colour(0, 10, 100)
    image[:, :4] = [200, 10, 20]
    changed = corrupt(image, "contrast", 2)
    np.testing.assert_array_equal(changed[0, 0, 0], [150, 10, 40])
    np.testing.assert_array_equal(changed[0, 7, 0], [50, 10, 80])


def test_gaussian_blur_of_a_point():
    image = np.zeros((1, 32, 32, 1), np.uint8)
    image[0, 16, 16] = 255
    changed = corrupt(image, "gaussian_blur", 5)[0, :, :, 0]
    weights = np.exp(-0.5 * np.arange(-4, 5) ** 2)
    weights /= weights.sum()
    expected = np.rint(255 * np.outer(weights, weights))
    np.testing.assert_allclose(changed[12:21, 12:21], expected, atol=1)


def test_blurs_grow_with_the_image():
    image = np.zeros((1, 64, 64, 1), np.uint8)
    image[0, 32, 32] = 255
    changed = corrupt(image, "gaussian_blur", 5)[0, :, :, 0]
    weights = np.exp(-0.125 * np.arange(-8, 9) ** 2)
    assert changed[32, 32] == pytest.approx(255 / weights.sum() ** 2, abs=1)


def test_disk():
    # Radius 1 without blur: a plus of five pixels.
    plus = corruptions.disk_kernel(1.0, 1e-6)
    np.testing.assert_allclose(plus[1:-1, 1:-1], np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]]) / 5)
    # Smaller than a pixel: what is left is the blur of its edge.
    small = corruptions.disk_kernel(0.3, 0.4)
    middle = small.shape[0] // 2
    assert small[middle, middle + 1] / small[middle, middle] == pytest.approx(
        np.exp(-0.5 / 0.4**2), rel=0.01
    )
    assert corruptions.disk_kernel(0.5, 0.6).sum() == pytest.approx(1)


def test_zoom_blur_is_the_mean_of_magnified_images():
    # A ramp through the middle stays one, less steep: values x / factor.
    ramp = np.tile(np.linspace(0, 1, 32)[None, None, :, None], (1, 32, 1, 1))
    factors = [1.0, *np.arange(1, 1.11, 0.01)]
    middle = np.linspace(-0.5, 0.5, 32)
    expected = 0.5 + np.mean([middle / factor for factor in factors], axis=0)
    image = np.rint(ramp * 255).astype(np.uint8)
    np.testing.assert_allclose(
        corrupt(image, "zoom_blur", 2)[0, 5, :, 0], np.rint(255 * expected), atol=1
    )


def test_jpeg_is_that_of_pillow(images):
    buffer = io.BytesIO()
    Image.fromarray(images[0]).save(buffer, "JPEG", quality=58)
    np.testing.assert_array_equal(corrupt(images, "jpeg", 3)[0], np.asarray(Image.open(buffer)))


def test_pixelate_has_blocks(images):
    # 0.75 of 32 are 24 pixels, so that four pixels have three values.
    expected = Image.fromarray(images[0]).resize((24, 24), Image.BOX).resize((32, 32), Image.BOX)
    np.testing.assert_array_equal(corrupt(images, "pixelate", 4)[0], np.asarray(expected))


def test_plasma():
    random = np.random.default_rng(0)
    clouds = np.stack([corruptions.plasma(32, 3.0, random) for _ in range(8)])
    assert clouds.min() == 0
    assert clouds.max() == 1
    # Neighbours are alike, also over the edge; distant pixels are not.
    near = np.abs(clouds - np.roll(clouds, 1, axis=2)).mean()
    far = np.abs(clouds - np.roll(clouds, 16, axis=2)).mean()
    assert near < far / 3
    # Without wobble at finer steps it is linear between the corner and the middle.
    smooth = corruptions.plasma(4, 1e9, np.random.default_rng(1))
    assert smooth[0, 1] == pytest.approx((smooth[0, 0] + smooth[0, 2]) / 2, abs=0.3)


def test_fog_lightens_and_keeps_the_brightest(images):
    changed = corrupt(images, "fog", 3).astype(int)
    assert (changed.max(axis=(1, 2, 3)) <= images.max(axis=(1, 2, 3))).all()
    # Contrast goes: by most / (most + 0.75) and the cloud's own.
    assert changed.std() < images.std()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": np.zeros((2, 8, 8, 3), np.float32)}, "images must be uint8 of shape"),
        ({"images": np.zeros((8, 8, 3), np.uint8)}, "images must be uint8 of shape"),
        ({"images": np.zeros((2, 8, 8, 2), np.uint8)}, "images must be uint8 of shape"),
        ({"name": "snow"}, "name must be one of gaussian_noise, .* Received: 'snow'"),
        ({"severity": 0}, "severity must be from 1 to 5. Received: 0"),
        ({"seed": -1}, "seed must be at least 0. Received: -1"),
    ],
)
def test_bad_input(arguments, message):
    good = {"images": np.zeros((2, 8, 8, 3), np.uint8), "name": "fog", "severity": 1, "seed": 0}
    with pytest.raises(ValueError, match=message):
        corrupt(**{**good, **arguments})


def test_no_images():
    for name in corruptions.names():
        assert corrupt(np.zeros((0, 8, 8, 3), np.uint8), name, 1).shape == (0, 8, 8, 3)
