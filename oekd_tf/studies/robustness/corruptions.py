"""Corruptions of images in the manner of CIFAR-10-C, in five severities, exact under a seed.

Constants are those of Hendrycks and Dietterich for images of 32 pixels; blurs grow with the image.
Other libraries and random numbers than theirs make other pixels: figures are not those of the
published arrays.

Source: Hendrycks, Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", ICLR 2019, arXiv 1903.12261.
"""

import io
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

SEVERITIES = (1, 2, 3, 4, 5)
# Side of the images that sizes of blurs are given for.
_SIDE = 32.0

# From images (images, height, width, channels) in [0, 1], severity's constant and random numbers.
_Corruption = Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]


def corrupt(images: np.ndarray, name: str, severity: int, seed: int = 0) -> np.ndarray:
    """Images with a corruption.

    The first images of a longer array are corrupted as they are alone.

    Args:
        images: Raw pixels from 0 to 255, uint8, (images, height, width, channels) with 1 or 3
            channels.
        name: One of `names(channels)`, such as "fog".
        severity: From 1, mild, to 5.
        seed: Random seed, at least 0.

    Returns:
        Corrupted images, uint8, of the same shape.

    Raises:
        ValueError: An argument breaks its rule.

    Example:
        >>> foggy = oekd_tf.robustness.corrupt(images, "fog", severity=3)
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise ValueError(
            "images must be uint8 of shape (images, height, width, 1 or 3). "
            f"Received: {images.dtype} of shape {images.shape}"
        )
    known = names(images.shape[3])
    if name not in known:
        raise ValueError(
            f"name must be one of {', '.join(known)} for images of {images.shape[3]} channels. "
            f"Received: {name!r}"
        )
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be from 1 to 5. Received: {severity}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0. Received: {seed}")
    function, constants = _CORRUPTIONS[name]
    random = np.random.default_rng([seed, zlib.crc32(name.encode()), severity])
    pixels = function(images.astype(np.float64) / 255, constants[severity - 1], random)
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def names(channels: int = 3) -> tuple[str, ...]:
    """Names of the corruptions that images of this number of channels have."""
    return tuple(name for name in _CORRUPTIONS if channels == 3 or name not in _COLOURED)


def _gaussian_noise(x: np.ndarray, scale: float, random: np.random.Generator) -> np.ndarray:
    return x + random.normal(0, scale, x.shape)


def _shot_noise(x: np.ndarray, photons: float, random: np.random.Generator) -> np.ndarray:
    return random.poisson(x * photons) / photons


def _impulse_noise(x: np.ndarray, amount: float, random: np.random.Generator) -> np.ndarray:
    # One number for both choices, so that an image's numbers do not depend on those behind it.
    drawn = random.random(x.shape)
    return np.where(drawn < amount / 2, 0.0, np.where(drawn < amount, 1.0, x))


def _speckle_noise(x: np.ndarray, scale: float, random: np.random.Generator) -> np.ndarray:
    return x + x * random.normal(0, scale, x.shape)


def _gaussian_blur(x: np.ndarray, sigma: float, random: np.random.Generator) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    sigma *= min(x.shape[1:3]) / _SIDE
    return gaussian_filter(x, (0, sigma, sigma, 0), mode="nearest")


def _defocus_blur(
    x: np.ndarray, disk: tuple[float, float], random: np.random.Generator
) -> np.ndarray:
    from scipy.ndimage import convolve

    kernel = disk_kernel(*disk, side=min(x.shape[1:3]))
    return convolve(x, kernel[None, :, :, None], mode="mirror")


def disk_kernel(radius: float, blur: float, side: float = _SIDE) -> np.ndarray:
    """A disk with a softened edge, whose sum is 1.

    Args:
        radius: Radius in pixels of an image of 32 pixels.
        blur: Standard deviation of the edge's blur, in the same.
        side: Side of the images.

    Returns:
        The kernel, square, of an odd side.
    """
    from scipy.ndimage import gaussian_filter

    radius, blur = radius * side / _SIDE, blur * side / _SIDE
    reach = int(np.ceil(radius + 3 * blur))
    places = np.arange(-reach, reach + 1)
    disk = (places[:, None] ** 2 + places**2 <= radius**2).astype(np.float64)
    disk = gaussian_filter(disk, blur, mode="constant")
    return disk / disk.sum()


def _zoom_blur(x: np.ndarray, most: float, random: np.random.Generator) -> np.ndarray:
    factors = np.arange(1, most, 0.01)
    total = x.copy()
    for factor in factors:
        rows, columns = (_zoom_matrix(side, factor) for side in x.shape[1:3])
        total += np.einsum("ih,nhwc,jw->nijc", rows, x, columns, optimize=True)
    return total / (len(factors) + 1)


def _zoom_matrix(side: int, factor: float) -> np.ndarray:
    """What reads a line of an image that is magnified about its middle, linearly between pixels."""
    middle = (side - 1) / 2
    places = middle + (np.arange(side) - middle) / factor
    below = np.minimum(np.floor(places).astype(int), max(side - 2, 0))
    matrix = np.zeros((side, side))
    matrix[np.arange(side), below] += 1 - (places - below)
    matrix[np.arange(side), np.minimum(below + 1, side - 1)] += places - below
    return matrix


def _brightness(x: np.ndarray, more: float, random: np.random.Generator) -> np.ndarray:
    # In HSV only the value changes: all channels by one factor; black has no hue to keep.
    value = x.max(axis=3, keepdims=True)
    brighter = np.minimum(value + more, 1)
    return np.where(value > 0, x * brighter / np.where(value > 0, value, 1), brighter)


def _contrast(x: np.ndarray, factor: float, random: np.random.Generator) -> np.ndarray:
    mean = x.mean(axis=(1, 2), keepdims=True)
    return (x - mean) * factor + mean


def _saturate(
    x: np.ndarray, change: tuple[float, float], random: np.random.Generator
) -> np.ndarray:
    value, least = x.max(axis=3, keepdims=True), x.min(axis=3, keepdims=True)
    spread = value - least
    saturation = np.where(value > 0, spread / np.where(value > 0, value, 1), 0)
    new = np.clip(saturation * change[0] + change[1], 0, 1)
    # How far each channel is from the value, of 1; a grey has the hue 0, which is red.
    away = np.where(spread > 0, (value - x) / np.where(spread > 0, spread, 1), [0.0, 1.0, 1.0])
    return value * (1 - new * away)


def _jpeg(x: np.ndarray, quality: int, random: np.random.Generator) -> np.ndarray:
    def coded(picture: Any) -> Any:
        from PIL import Image

        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer)

    return _by_picture(x, coded)


def _pixelate(x: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    def coarse(picture: Any) -> Any:
        from PIL import Image

        width, height = (max(int(side * share), 1) for side in picture.size)
        small = picture.resize((width, height), Image.Resampling.BOX)
        return small.resize(picture.size, Image.Resampling.BOX)

    return _by_picture(x, coarse)


def _by_picture(x: np.ndarray, change: Callable[[Any], Any]) -> np.ndarray:
    from PIL import Image

    pixels = np.rint(x * 255).astype(np.uint8)
    if pixels.shape[3] == 1:
        pixels = pixels[..., 0]
    changed = [np.asarray(change(Image.fromarray(image))) for image in pixels]
    return (np.stack(changed).reshape(x.shape) if changed else x).astype(np.float64) / 255


def _fog(x: np.ndarray, fog: tuple[float, float], random: np.random.Generator) -> np.ndarray:
    amount, decay = fog
    side = 1 << int(np.ceil(np.log2(max(x.shape[1:3]))))
    most = x.max(axis=(1, 2, 3), keepdims=True)
    clouds = np.empty((len(x), side, side))
    for number in range(len(x)):
        clouds[number] = plasma(side, decay, random)
    clouds = clouds[:, : x.shape[1], : x.shape[2], None]
    return (x + amount * clouds) * most / (most + amount)


def plasma(side: int, decay: float, random: np.random.Generator) -> np.ndarray:
    """A cloud by the diamond-square algorithm, which is periodic.

    Args:
        side: Side, a power of 2.
        decay: By what the random part is divided at each finer step; more is smoother.
        random: Random numbers.

    Returns:
        Values from 0 to 1, (side, side), in float64.
    """
    field = np.zeros((side, side))
    step, wobble = side, 100.0
    while step > 1:
        half = step // 2

        def moved(mean: np.ndarray, wobble: float = wobble) -> np.ndarray:
            return mean + wobble * random.uniform(-wobble, wobble, mean.shape)

        corners = field[::step, ::step]
        sums = corners + np.roll(corners, -1, 0)
        field[half::step, half::step] = moved((sums + np.roll(sums, -1, 1)) / 4)
        middles = field[half::step, half::step]
        beside = middles + np.roll(middles, 1, 0) + corners + np.roll(corners, -1, 1)
        field[::step, half::step] = moved(beside / 4)
        above = middles + np.roll(middles, 1, 1) + corners + np.roll(corners, -1, 0)
        field[half::step, ::step] = moved(above / 4)
        step, wobble = half, wobble / decay
    field -= field.min()
    return field / max(field.max(), 1e-12)


# In the order of tables: noise, blur, weather and light, digital.
_CORRUPTIONS: dict[str, tuple[_Corruption, tuple]] = {
    "gaussian_noise": (_gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": (_shot_noise, (500, 250, 100, 75, 50)),
    "impulse_noise": (_impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "speckle_noise": (_speckle_noise, (0.06, 0.10, 0.12, 0.16, 0.20)),
    "gaussian_blur": (_gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0)),
    "defocus_blur": (
        _defocus_blur,
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),
    ),
    "zoom_blur": (_zoom_blur, (1.06, 1.11, 1.16, 1.21, 1.26)),
    "fog": (_fog, ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))),
    "brightness": (_brightness, (0.05, 0.10, 0.15, 0.20, 0.30)),
    "contrast": (_contrast, (0.75, 0.50, 0.40, 0.30, 0.15)),
    "saturate": (_saturate, ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))),
    "jpeg": (_jpeg, (80, 65, 58, 50, 40)),
    "pixelate": (_pixelate, (0.95, 0.90, 0.85, 0.75, 0.65)),
}
# What a picture in shades of grey does not have.
_COLOURED = ("saturate",)
