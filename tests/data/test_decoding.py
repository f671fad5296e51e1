"""One decoder: training, evaluation, calibration and devices see the same pixels."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from oekd_tf.data.decoding import ImageDecoder, _kind
from oekd_tf.data.splits import decode_batch
from oekd_tf.data.survey import survey
from oekd_tf.device.picture_headers import exif_orientation, read_header
from oekd_tf.device.pictures import decode, read_image

SIZE = (48, 36)  # height, width


def scene(rng, channels=3):
    """An upright picture whose corners all differ; smooth, as photographs are."""
    coarse = rng.integers(0, 256, (6, 5, channels), dtype=np.uint8).squeeze()
    image = Image.fromarray(coarse).resize(SIZE[::-1], Image.Resampling.BICUBIC)
    return image


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def saved(image, file_format, **arguments):
    file = io.BytesIO()
    image.save(file, file_format, **arguments)
    return file.getvalue()


# What turns an upright picture into what a camera of each orientation stores.
_STORED = {
    1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
}  # fmt: skip


def stored(image, orientation):
    turn = _STORED[orientation]
    return image if turn is None else image.transpose(turn)


def table(rng):
    """Files by name, each with the upright picture that it holds."""
    image = scene(rng)
    grey = image.convert("L")
    found = {}
    for orientation in range(1, 9):
        turned, block = stored(image, orientation), exif(orientation)
        for name, arguments in (
            ("JPEG", {"quality": 95, "subsampling": 0}),
            ("PNG", {}),
            ("TIFF", {}),
            ("WEBP", {"lossless": True}),
        ):
            content = saved(turned, name, exif=block, **arguments)
            found[f"{name} {orientation}"] = content, image
        content = saved(stored(grey, orientation), "JPEG", quality=95, exif=block)
        found[f"grey JPEG {orientation}"] = content, grey.convert("RGB")
    jpeg = {"quality": 95, "subsampling": 0}
    found["progressive"] = saved(image, "JPEG", progressive=True, **jpeg), image
    found["half colour"] = saved(image, "JPEG", quality=95, subsampling=2), image
    cmyk = image.convert("CMYK")
    found["CMYK"] = saved(cmyk, "JPEG", **jpeg), cmyk.convert("RGB")
    found["CMYK TIFF"] = saved(cmyk, "TIFF"), cmyk.convert("RGB")
    palette = image.convert("P", palette=Image.Palette.ADAPTIVE)
    found["palette"] = saved(palette, "PNG"), palette.convert("RGB")
    sixteen = palette.quantize(16)
    found["palette of 4 bits"] = saved(sixteen, "PNG", bits=4), sixteen.convert("RGB")
    one = image.convert("1")
    for name in ("PNG", "TIFF", "BMP"):
        found[f"1 bit {name}"] = saved(one, name), one.convert("RGB")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    for name in ("PNG", "TIFF"):
        found[f"16 bits {name}"] = saved(deep, name), grey.convert("RGB")
    found["grey PNG"] = saved(grey, "PNG"), grey.convert("RGB")
    clear = image.copy()
    clear.putalpha(grey)
    for name in ("PNG", "TIFF"):
        found[f"alpha {name}"] = saved(clear, name), image
    found["alpha WEBP"] = saved(clear, "WEBP", lossless=True, exact=True), image
    found["grey and alpha"] = saved(clear.convert("LA"), "PNG"), image.convert("L").convert("RGB")
    other = ImageOps.mirror(image)
    found["animated GIF"] = (
        saved(palette, "GIF", save_all=True, append_images=[other.convert("P")]),
        palette.convert("RGB"),
    )
    found["animated PNG"] = saved(image, "PNG", save_all=True, append_images=[other]), image
    found["animated WEBP"] = (
        saved(image, "WEBP", save_all=True, append_images=[other], lossless=True),
        image,
    )
    found["BMP"] = saved(image, "BMP"), image
    found["PPM"] = saved(image, "PPM"), image
    found["PGM"] = saved(grey, "PPM"), grey.convert("RGB")
    # An EXIF block that is cut short, one of noise, and one whose orientation is none.
    for name, block in (
        ("short", exif(6).tobytes()[:20]),
        ("noise", b"Exif\0\0" + bytes(range(60))),
        ("of 9", exif(9).tobytes()),
        ("endless", exif(6).tobytes()[:6] + b"II*\0\x08\0\0\0\xff\xff" + b"\1" * 30),
    ):
        found[f"EXIF {name}"] = saved(image, "JPEG", exif=block, **jpeg), image
        found[f"EXIF {name} in PNG"] = saved(image, "PNG", exif=block[6:]), image
    jpeg_6 = found["JPEG 6"][0]
    found["zeros after the end"] = jpeg_6 + bytes(100), image
    return found


TABLE = table(np.random.default_rng(0))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("varying", [False, True])
def test_every_format_is_the_same_picture_everywhere(tmp_path, channels, varying):
    shape = (24, 20, channels)
    decoder = ImageDecoder(shape, varying, central_crop=0.875)
    trained = decode_batch(
        decoder, tf.constant([content for content, _ in TABLE.values()]), None
    ).numpy()
    for (name, (content, upright)), inputs in zip(TABLE.items(), trained, strict=True):
        path = tmp_path / "picture"
        path.write_bytes(content)
        served = read_image(path, shape, 0.875 if varying else None)
        difference = np.abs(served.astype(int) - inputs)
        assert difference.max() <= 4, name
        assert difference.mean() < 0.6, name
        # The reference: the picture that the file was made from, by Pillow alone.
        expected = upright.convert("L" if channels == 1 else "RGB")
        pixels = decode(content, channels)
        assert pixels.shape == (*SIZE, channels), name
        lossy = "JPEG" in name or name in ("progressive", "half colour", "CMYK") or "EXIF" in name
        error = np.abs(pixels.astype(int) - np.asarray(expected).reshape(pixels.shape))
        assert error.mean() < (3 if lossy or "zeros" in name else 1), name


@pytest.mark.parametrize("channels", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_crops_before_decoding_are_crops_of_the_upright_picture(channels):
    rng = np.random.default_rng(1)
    decoder = ImageDecoder((16, 16, channels), varying=True)
    contents = [content for content, _ in TABLE.values()]
    upright = [saved(Image.fromarray(decode(content, 3)), "PNG") for content in contents]
    for _ in range(5):
        draws = rng.uniform(0, 1, (len(contents), 4)).astype(np.float32)
        fast = decode_batch(decoder, tf.constant(contents), draws).numpy().astype(int)
        slow = decode_batch(decoder, tf.constant(upright), draws).numpy()
        for name, one, other in zip(TABLE, fast, slow, strict=True):
            assert np.abs(one - other).max() <= 4, name


def test_jpegs_of_cameras_take_the_fast_path():
    kinds = {name: _kind(content) for name, (content, _) in TABLE.items()}
    for orientation in range(1, 9):
        assert kinds[f"JPEG {orientation}"] == kinds[f"grey JPEG {orientation}"] == orientation
    assert kinds["progressive"] == kinds["half colour"] == 1
    assert kinds["PNG 1"] == 0, "It has an EXIF block"
    assert kinds["grey PNG"] == 9
    others = ("CMYK", "palette", "16 bits PNG", "alpha PNG", "animated PNG", "BMP", "PPM")
    assert {kinds[name] for name in others} == {0}


def test_headers_say_size_and_format():
    for name, (content, _) in TABLE.items():
        header = read_header(content)
        if header.format in ("JPEG", "PNG") and "PNG" not in name:
            assert header.size == SIZE[::-1], name
    assert [read_header(content).format for content in (b"", b"<html>", b"\xff\xd8\xff")] == [
        "", "", "JPEG",
    ]  # fmt: skip


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_by_hand(order):
    import struct

    mark = b"II" if order == "<" else b"MM"
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 8, 0)
    block = mark + struct.pack(f"{order}HIH", 42, 8, 1) + entry
    assert exif_orientation(b"Exif\0\0" + block) == exif_orientation(block) == 8
    for length in range(len(block)):
        assert exif_orientation(block[:length]) in (1, 8)
    assert exif_orientation(block[:-8]) == 1
    assert exif_orientation(b"") == 1


def test_damage_is_one_line():
    rng = np.random.default_rng(2)
    messages = []
    for content, _ in TABLE.values():
        for _ in range(10):
            damaged = bytearray(content)
            for place in rng.integers(0, len(damaged), rng.integers(1, 8)):
                damaged[place] = rng.integers(0, 256)
            damaged = bytes(damaged[: rng.integers(1, len(damaged) + 1)])
            read_header(damaged)
            try:
                assert decode(damaged, 3).shape[2] == 3
            except ValueError as error:
                messages.append(str(error))
    assert len(messages) > 100
    assert {len(message.splitlines()) for message in messages} == {1}


@pytest.mark.slow
def test_100_000_damaged_files_are_read_or_refused_alike(tmp_path):
    """Each is a picture or one line, and TensorFlow reads what is sent to it."""
    rng = np.random.default_rng(3)
    decoder = ImageDecoder((24, 20, 3), varying=True)
    whole = tf.function(decoder.whole, input_signature=[tf.TensorSpec((), tf.string)])
    path = tmp_path / "picture"
    contents = [content for content, _ in TABLE.values()]
    refused = read = trained = 0
    for number in range(100_000):
        damaged = bytearray(contents[number % len(contents)])
        for _ in range(rng.integers(1, 5)):
            place = int(rng.integers(0, len(damaged)))
            change = rng.integers(0, 3)
            if change == 0:
                damaged[place] = rng.integers(0, 256)
            elif change == 1:
                damaged[place : place + int(rng.integers(1, 9))] = b""
            else:
                damaged[place:place] = rng.bytes(int(rng.integers(1, 9)))
        damaged = bytes(damaged)
        if rng.integers(0, 20) == 0:
            damaged = damaged[: rng.integers(0, len(damaged))]
        path.write_bytes(damaged)
        (facts,) = survey([bytes(path)], thorough=number % 2 == 0)
        assert len(facts.problem.splitlines()) <= 1
        try:
            image = read_image(path, (24, 20, 3), 0.875)
        except ValueError as error:
            refused += 1
            message = str(error)
            assert len(message.splitlines()) == 1, message
            continue
        read += 1
        assert image.shape == (24, 20, 3)
        if facts.problem or number % 10:
            continue
        trained += 1
        assert whole(tf.constant(damaged)).shape == (24, 20, 3)
    assert min(refused, read) > 10_000
    assert trained > 1000
