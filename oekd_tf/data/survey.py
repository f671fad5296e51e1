"""Facts of picture files, found without decoding them where that is possible."""

import hashlib
import io
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from oekd_tf.core.regular import IrregularFileError, regular
from oekd_tf.device.picture_headers import pixels_problem, read_header
from oekd_tf.device.pictures import decode

# Bytes at the start and at the end of a file that its key is made of.
_PART = 16 * 1024

# Files of formats other than JPEG and PNG that are decoded to see whether they can be.
_DECODED = 2000

# Files that one thread reads in turn.
_AT_A_TIME = 250


class FileFacts(NamedTuple):
    """Facts of a picture file.

    Attributes:
        size: Size of the file, in bytes.
        format: Format by its content; "" if it is none that is read.
        width: Width of the upright picture in pixels; 0 if it is not known.
        height: Height of the upright picture.
        key: Digest of the content: of the size and of the first and last 16 KiB.
        problem: Why the file cannot be read, in one line; "" if it can.
    """

    size: int
    format: str
    width: int
    height: int
    key: bytes
    problem: str = ""


def survey(
    paths: Sequence[bytes],
    thorough: bool = False,
    progress: Callable[[int], None] | None = None,
) -> list[FileFacts]:
    """Looks at picture files.

    JPEG and PNG files are checked by header and end, other formats are decoded if they are few.

    Args:
        paths: Paths of the files, as the file system stores them.
        thorough: Whether to decode every file.
        progress: Called with the number of files that were looked at.

    Returns:
        Facts of each file.

    Example:
        >>> survey([b"photos/train/cat/1.jpg"])[0].problem
        ''
    """
    found: list[FileFacts] = []
    slices = [paths[start : start + _AT_A_TIME] for start in range(0, len(paths), _AT_A_TIME)]
    # More than the cores, because files may lie across a network.
    with ThreadPoolExecutor(min(32, 4 * (os.cpu_count() or 1))) as pool:
        for facts in pool.map(lambda part: [_look(path, thorough) for path in part], slices):
            found += facts
            if progress is not None:
                progress(len(found))
    others = [i for i, f in enumerate(found) if not f.problem and f.format not in ("JPEG", "PNG")]
    if not thorough and len(others) <= _DECODED:
        for index in others:
            problem = _decoding_problem(paths[index])
            found[index] = found[index]._replace(problem=problem)
    return found


def fingerprint(names: Iterable[str], labels: Iterable[int], keys: Iterable[bytes]) -> str:
    """A digest of a split: its files' names, labels and contents.

    Args:
        names: Name of each file.
        labels: Class index of each file.
        keys: Key of each file, from `survey`.

    Returns:
        32 hexadecimal digits; the order of the files does not matter.
    """
    lines = sorted(
        b"%s\0%d\0%s\n" % (os.fsencode(name), label, key)
        for name, label, key in zip(names, labels, keys, strict=True)
    )
    return hashlib.blake2b(b"".join(lines), digest_size=16).hexdigest()


def file_key(path: bytes | str) -> tuple[int, bytes, bytes, bytes]:
    """Size, key, start and end of a file.

    Args:
        path: Path of the file.

    Returns:
        Its size in bytes, its key, its first and its last 16 KiB.

    Raises:
        OSError: The file cannot be read.
    """
    with open(regular(os.fsdecode(path)), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(_PART)
        end = start[-_PART:]
        if size > len(start):
            file.seek(max(size - _PART, len(start)))
            end = file.read()
    key = hashlib.blake2b(b"%d\0%s%s" % (size, start, end), digest_size=16).digest()
    return size, key, start, end


def _look(path: bytes, thorough: bool) -> FileFacts:
    try:
        size, key, start, end = file_key(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if isinstance(error, IrregularFileError):
            reason = f"it is {reason}"
        return FileFacts(0, "", 0, 0, b"", reason)
    if not size:
        return FileFacts(0, "", 0, 0, key, "it is empty")
    header = read_header(start, end)
    if header.format in ("JPEG", "PNG") and not header.width:
        # Large EXIF data and colour profiles stand in front of the size.
        with open(path, "rb") as file:
            header = read_header(file.read())
    if not header.format:
        return FileFacts(size, "", 0, 0, key, "it is no picture of a format that is read here")
    width, height = header.size
    problem = pixels_problem(width, height)
    if problem:
        return FileFacts(size, header.format, width, height, key, problem)
    if thorough or not (header.plain or header.format not in ("JPEG", "PNG")):
        problem = _decoding_problem(path)
    if not problem and not width:
        width, height, problem = _size(path)
    return FileFacts(size, header.format, width, height, key, problem)


def _size(path: bytes) -> tuple[int, int, str]:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with open(path, "rb") as file, Image.open(io.BytesIO(file.read())) as image:
                return (*image.size, "")
        except Exception as error:  # Damaged files make Pillow raise nearly anything.
            return 0, 0, (str(error) or type(error).__name__).splitlines()[0]


def _decoding_problem(path: bytes) -> str:
    try:
        with open(path, "rb") as file:
            decode(file.read(), 3)
    except (ValueError, OSError) as error:
        return str(error)
    return ""
