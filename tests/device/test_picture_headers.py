import io
import os
import resource
import struct

import pytest
from PIL import Image

from oekd_tf.data.decoding import _kind
from oekd_tf.data.survey import survey
from oekd_tf.device.pictures import decode


@pytest.mark.parametrize("name", ["PNG", "TIFF", "BMP", "WEBP", "GIF", "JPEG", "PPM"])
def test_pictures_of_absurd_size_are_refused_before_their_pixels_are_there(name, tmp_path):
    """Each file is small and says that it has some 169 million pixels."""
    width = height = 13000
    content = io.BytesIO()
    if name in ("PNG", "TIFF"):
        # A bit a pixel: real pictures, of two megabytes in memory.
        Image.new("1", (width, height)).save(
            content, name, **({"compression": "group4"} if name == "TIFF" else {})
        )
    elif name == "PPM":
        content.write(b"P6 13000 13000 255\n")
    else:
        Image.new("RGB", (300, 200)).save(content, name)
    content = bytearray(content.getvalue())
    if name == "BMP":
        content[18:26] = struct.pack("<ii", width, height)
    elif name == "GIF":
        content[6:10] = struct.pack("<HH", width, height)
        place = content.index(b"\x2c")
        content[place + 5 : place + 9] = struct.pack("<HH", width, height)
    elif name == "WEBP":
        # The first frame of VP8, after its start code.
        place = content.index(b"\x9d\x01\x2a") + 3
        content[place : place + 4] = struct.pack("<HH", width, height)
    elif name == "JPEG":
        place = content.index(b"\xff\xc0") + 5
        content[place : place + 4] = struct.pack(">HH", height, width)
    content = bytes(content)
    assert len(content) < 300_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="169,000,000 pixels, and at most 89,478,485 are read"):
        decode(content, 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
    path = tmp_path / "picture"
    path.write_bytes(content)
    (facts,) = survey([os.fsencode(path)])
    assert "169,000,000 pixels" in facts.problem
    if name in ("PNG", "JPEG"):
        assert _kind(content) == 0
