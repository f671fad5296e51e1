"""What the first bytes of a picture file say, without decoding it.

JPEG and PNG are read here, because training reads the header of every picture it decodes; other
formats are left to Pillow.
"""

import struct
import zlib
from typing import NamedTuple

# Formats by their first bytes.
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
# Pixels of the largest picture that is read: Pillow's limit, from which on it warns. As colours
# they take a quarter of a gigabyte, several times while they are resized, in each thread that
# decodes; a file of half a megabyte can hold that many.
MOST_PIXELS = 89_478_485

_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_FRAMES = {0xC0, 0xC1, 0xC2}
_ORIENTATION = 0x0112


class Header(NamedTuple):
    """Facts of a picture file.

    Attributes:
        format: "JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", or "" if it is none of these.
        width: Stored width in pixels, before the orientation is applied; 0 if it is not known.
        height: Stored height in pixels.
        orientation: EXIF orientation, from 1 to 8; 1 if there is none, or it is damaged.
        plain: Whether every JPEG or PNG decoder gives the same pixels: 8 bits, grey or RGB, no
            palette, no transparency, and the end of the file is there.
    """

    format: str
    width: int = 0
    height: int = 0
    orientation: int = 1
    plain: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the upright picture."""
        upright = (self.width, self.height)
        return upright if self.orientation < 5 else upright[::-1]


def read_header(content: bytes, end: bytes | None = None) -> Header:
    """Reads the header of a picture file.

    Args:
        content: The file's content, or a part from its start.
        end: The file's last bytes; those of `content` if None.

    Returns:
        Its facts. A header that is damaged or not within `content` is not `plain`.

    Example:
        >>> read_header(Path("photo.jpg").read_bytes()).orientation
        6
    """
    name = format_of(content)
    end = content[-12:] if end is None else end
    try:
        if name == "JPEG":
            return _jpeg(content, end)
        if name == "PNG":
            return _png(content, end)
    except (struct.error, IndexError):
        pass
    return Header(name)


def pixels_problem(width: int, height: int) -> str:
    """Why a picture of this size is not decoded; "" if it is.

    Example:
        >>> pixels_problem(13000, 13000)
        'it has 169,000,000 pixels, and at most 89,478,485 are read; make it smaller first'
    """
    if width * height <= MOST_PIXELS:
        return ""
    return (
        f"it has {width * height:,} pixels, and at most {MOST_PIXELS:,} are read; make it smaller "
        "first"
    )


def format_of(content: bytes) -> str:
    """The format of a picture by its first bytes; "" if it is not known."""
    for signature, name in _SIGNATURES:
        if content.startswith(signature):
            return name
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if content[:1] == b"P" and content[1:2] in b"123456" and content[2:3].isspace():
        return "PPM"
    return ""


def exif_orientation(block: bytes) -> int:
    """The orientation in an EXIF block.

    Args:
        block: The block, with or without "Exif" in front.

    Returns:
        From 1 to 8; 1, upright, if the block has none or is damaged.

    Source: Exif 2.3, section 4.6.4 A; TIFF 6.0, section 2.
    """
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (first,) = struct.unpack_from(f"{order}I", block, 4)
        (entries,) = struct.unpack_from(f"{order}H", block, first)
        for place in range(first + 2, first + 2 + 12 * entries, 12):
            tag, kind, count = struct.unpack_from(f"{order}HHI", block, place)
            if tag == _ORIENTATION:
                size = {3: "H", 4: "I"}.get(kind)
                if size is None or count != 1:
                    return 1
                (value,) = struct.unpack_from(order + size, block, place + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _jpeg(content: bytes, end: bytes) -> Header:
    place, orientation = 2, 1
    width = height = channels = bits = 0
    adobe = None
    seen_exif = False
    while True:
        if content[place] != 0xFF:
            return Header("JPEG", width, height, orientation)
        marker = content[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        if marker in _STANDALONE:
            place += 2
            continue
        if marker in (0xD9, 0xDA):
            break
        (length,) = struct.unpack_from(">H", content, place + 2)
        if marker in _FRAMES:
            bits, height, width, channels = struct.unpack_from(">BHHB", content, place + 4)
        elif 0xC3 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            # Lossless and arithmetic coding: not every decoder has them.
            return Header("JPEG", width, height, orientation)
        elif marker == 0xE1 and not seen_exif and content[place + 4 : place + 10] == b"Exif\0\0":
            seen_exif = True
            orientation = exif_orientation(content[place + 4 : place + 2 + length])
        elif marker == 0xEE and content[place + 4 : place + 9] == b"Adobe":
            adobe = content[place + 15]
        place += 2 + length
    # Colours that Adobe's marker says are stored as RGB are read differently by some decoders.
    usual = channels == 1 or (channels == 3 and adobe in (None, 1))
    plain = usual and bits == 8 and width > 0 and height > 0 and end.endswith(b"\xff\xd9")
    return Header("JPEG", width, height, orientation, plain)


def _png(content: bytes, end: bytes) -> Header:
    width, height, bits, kind, _, _, interlaced = struct.unpack_from(">IIBBBBB", content, 16)
    plain = content[12:16] == b"IHDR" and bits == 8 and kind in (0, 2) and not interlaced
    if not plain or not end.endswith(b"IEND\xaeB`\x82"):
        return Header("PNG", width, height)
    place = 8
    while place + 8 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        name = content[place + 4 : place + 8]
        # An orientation, transparency, or several pictures in one.
        if name in (b"eXIf", b"tRNS", b"acTL") or not name.isalpha():
            return Header("PNG", width, height)
        after = place + 12 + length
        # Pillow reads on where a checksum is wrong; other decoders do not.
        if after <= len(content):
            (checksum,) = struct.unpack_from(">I", content, after - 4)
            if zlib.crc32(content[place + 4 : after - 4]) != checksum:
                return Header("PNG", width, height)
        place = after
    return Header("PNG", width, height, 1, plain=True)
