"""What programs get wrong between a picture and a network's input, each by its name."""

import io
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from oekd_tf.core.records import Contract
from oekd_tf.device.pictures import central_box, decode

# Of ImageNet's images, in pixel units: what tutorials subtract and divide by.
_IMAGENET_MEAN, _IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_USUAL_CROP = 0.875

Values = np.ndarray
Change = Callable[[Values], Values]


class Candidate(NamedTuple):
    """An input as a program may have made it of a picture.

    Attributes:
        mistakes: What it got wrong; empty for the right input.
        values: The input, float32 (height, width, channels).
    """

    mistakes: tuple[str, ...]
    values: Values


def candidates(
    golden: Values, picture: bytes, contract: Contract, most: int
) -> Iterator[Candidate]:
    """Inputs that programs make of a picture, the right one first.

    Args:
        golden: The right input, uint8 (height, width, channels).
        picture: Content of the picture's file.
        contract: The network's contract.
        most: Largest number of mistakes of one candidate: 1, 2 or 3.

    Yields:
        Candidates by rising number of mistakes.

    Example:
        >>> [one.mistakes for one in candidates(image, content, contract, 1)][:2]
        [(), ('channels are swapped: BGR instead of RGB',)]
    """
    right = ("", golden.astype(np.float32))
    places = [right, *_read_otherwise(golden, picture, contract)]
    orders, scales = _orders(golden.shape), _scales(contract, golden.shape[-1])
    found = [
        (tuple(name for name in (place, order, scale) if name), values, reorder, rescale)
        for place, values in places
        for order, reorder in orders
        for scale, rescale in scales
    ]
    for names, values, reorder, rescale in sorted(found, key=lambda one: len(one[0])):
        if len(names) <= most:
            yield Candidate(names, reorder(rescale(values)).astype(np.float32))


def _grey(weights: Values) -> Change:
    return lambda v: np.repeat((v @ weights)[..., None], 3, axis=-1)


def _same(values: Values) -> Values:
    return values


def _orders(shape: tuple[int, ...]) -> list[tuple[str, Change]]:
    channels = shape[-1]
    found: list[tuple[str, Change]] = [("", _same)]
    if channels == 3:
        found.append(("channels are swapped: BGR instead of RGB", lambda v: v[..., ::-1]))
        found.append(("colours are grey, their mean", _grey(np.full(3, 1 / 3))))
        # As Pillow and OpenCV make it.
        found.append(("colours are grey, their luminance", _grey(np.array([0.299, 0.587, 0.114]))))
    if channels > 1:
        found.append(
            (
                "channels come first: (channels, height, width)",
                lambda v: v.transpose(2, 0, 1).reshape(shape),
            )
        )
    found.append(("rows and columns are exchanged", lambda v: v.transpose(1, 0, 2).reshape(shape)))
    found.append(("the picture is mirrored", lambda v: v[:, ::-1]))
    found.append(("the picture is upside down", lambda v: v[::-1]))
    return found


def _scales(contract: Contract, channels: int) -> list[tuple[str, Change]]:
    found: list[tuple[str, Change]] = [
        ("", _same),
        ("pixels are scaled to 0…1: the network takes 0 to 255", lambda v: v / 255),
        ("pixels are scaled to -1…1: the network takes 0 to 255", lambda v: v / 127.5 - 1),
        (
            "bytes are taken as int8 as they are: an int8 tensor holds pixel - 128",
            lambda v: (v + 128) % 256,
        ),
        ("128 is subtracted from pixels that are not for an int8 tensor", lambda v: v - 128),
        ("128 is not subtracted: an int8 tensor holds pixel - 128", lambda v: v + 128),
        ("pixels are inverted: 255 - value", lambda v: 255 - v),
    ]
    if contract["mean"] is not None and contract["std"] is not None:
        mean, std = np.array(contract["mean"]), np.array(contract["std"])
        found.append(
            (
                "pixels are normalized with mean and deviation: the network does that itself",
                lambda v: (v - mean) / std,
            )
        )
    if channels == 3:
        mean_of, std_of = np.array(_IMAGENET_MEAN), np.array(_IMAGENET_STD)
        found.append(
            (
                "pixels are normalized with ImageNet's mean and deviation: the network normalizes "
                "by itself",
                lambda v: (v - mean_of) / std_of,
            )
        )
    return found


def _read_otherwise(golden: Values, picture: bytes, contract: Contract) -> list[tuple[str, Values]]:
    """The picture cropped, resized or turned otherwise, where that makes a difference."""
    from PIL import Image

    height, width, channels = golden.shape
    upright = Image.fromarray(decode(picture, channels).squeeze())
    with Image.open(io.BytesIO(picture)) as opened:
        lying = opened.convert(upright.mode)
    lies = lying.size != upright.size
    wrong = upright.transpose(Image.Transpose.ROTATE_180) if lies else upright
    preparation = contract["preparation"]
    crop = None if preparation is None else preparation["crop"]
    right = _Reading(crop)
    if upright.size == (width, height):
        taken = _read(upright, (width, height), _Reading(crop or _USUAL_CROP), always=True)
        return [("pictures of the network's own size are cropped", _floats(taken, golden.shape))]
    instead = "the whole picture squeezed" if crop is None else f"the center crop of {crop:.4g}"
    readings = {
        f"the whole picture is squeezed instead of {instead}": right._replace(crop=None),
        f"the largest center crop is taken instead of {instead}": right._replace(crop=1.0),
        f"the center crop of {_USUAL_CROP:.4g} is taken instead of {instead}": right._replace(
            crop=_USUAL_CROP
        ),
        f"the picture has bars instead of {instead}": right._replace(bars=True),
        f"the picture is padded, then resized, instead of {instead}": right._replace(padded=True),
        f"the upper left corner is taken instead of {instead}": right._replace(
            corner=True, crop=crop or 1.0
        ),
        "resizing is not antialiased (bilinear, as OpenCV does)": right._replace(how=_bilinear),
        "resizing takes the nearest pixels": right._replace(how=_by(Image.Resampling.NEAREST)),
        "resizing is bicubic": right._replace(how=_by(Image.Resampling.BICUBIC)),
        "resizing averages areas": right._replace(how=_by(Image.Resampling.BOX)),
        "resizing is by Lanczos": right._replace(how=_by(Image.Resampling.LANCZOS)),
        "the picture is not turned upright: EXIF is ignored": right._replace(turn=1),
        "the picture is turned the wrong way: EXIF is misread": right._replace(turn=2),
    }
    found = []
    for name, reading in readings.items():
        image = upright if not reading.turn else lying if reading.turn == 1 else wrong
        if reading != right:
            found.append((name, _floats(_read(image, (width, height), reading), golden.shape)))
    return found


def _floats(values: Values, shape: tuple[int, ...]) -> Values:
    return values.astype(np.float32).reshape(shape)


class _Reading(NamedTuple):
    """A way to make an input of a picture."""

    crop: float | None
    how: Any = None
    turn: int = 0  # 1 as the file has it, 2 the other way.
    bars: bool = False
    padded: bool = False
    corner: bool = False


def _read(image: Any, size: tuple[int, int], reading: _Reading, always: bool = False) -> Values:
    from PIL import Image

    if image.size == size and not always:
        return np.asarray(image)
    resize = reading.how or _by(Image.Resampling.BILINEAR)
    if reading.bars:
        scale = min(size[0] / image.width, size[1] / image.height)
        inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        canvas = Image.new(image.mode, size)
        place = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
        canvas.paste(Image.fromarray(resize(image, inner)), place)
        return np.asarray(canvas)
    if reading.padded:
        # To the input's shape at the picture's own scale, so that the bars' edges are resized too.
        scale = max(image.width / size[0], image.height / size[1])
        outer = (round(size[0] * scale), round(size[1] * scale))
        canvas = Image.new(image.mode, outer)
        place = (outer[0] - image.width) // 2, (outer[1] - image.height) // 2
        canvas.paste(image, place)
        return resize(canvas, size)
    if reading.crop is not None:
        box = central_box(image.size, size, reading.crop)
        if reading.corner:
            box = (0, 0, box[2] - box[0], box[3] - box[1])
        image = image.crop(box)
    return resize(image, size)


def _by(method: Any) -> Callable[[Any, tuple[int, int]], Values]:
    return lambda image, size: np.asarray(image.resize(size, method), np.uint8)


def _bilinear(image: Any, size: tuple[int, int]) -> Values:
    """Between the four nearest pixels, whatever the scale."""
    pixels = np.asarray(image, np.float64)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    for axis, (target, there) in enumerate(((size[1], image.height), (size[0], image.width))):
        place = np.clip((np.arange(target) + 0.5) * there / target - 0.5, 0, there - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, there - 1)
        share = (place - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        pixels = pixels.take(low, axis) * (1 - share) + pixels.take(high, axis) * share
    return np.round(pixels).astype(np.uint8).squeeze()
