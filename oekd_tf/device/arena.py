"""How large an arena TensorFlow Lite Micro needs for a file.

The interpreter says how much of an arena a file keeps. To start it needs more for a while, of small
networks much more, and how much it does not say; in too small an arena it may end its process. So
sizes are tried, each in a process of its own, forked by one that has no threads.
"""

import os
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec

# Arenas that every file is tried in first: the second is more than any microcontroller has.
_AMPLE_BYTES = (1 << 24, 1 << 29)
# Every part of an arena begins at a multiple of this.
_STEP = 16

MISSING = "TensorFlow Lite Micro is not installed: pip install 'oekd-tf[mcu]'"


def is_installed() -> bool:
    """Whether TensorFlow Lite Micro's interpreter is installed."""
    return find_spec("tflite_micro") is not None


def least_arena(content: bytes, enough: int | None = None) -> int:
    """The size of the smallest arena that a file starts in, to 16 bytes.

    Args:
        content: Content of a TFLite file.
        enough: A size to try instead; it is the answer if the file starts in it.

    Returns:
        The size in bytes.

    Raises:
        ValueError: TensorFlow Lite Micro does not run the file, or not in `enough` bytes.
        ImportError: It is not installed.

    Example:
        >>> least_arena(Path("savedmodels/demo/student_5/int8.tflite").read_bytes())
    """
    if not is_installed():
        raise ImportError(MISSING)
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(enough or 0)],
        input=content, capture_output=True, check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    kind, _, rest = done.stdout.decode(errors="replace").strip().partition(" ")
    if kind == "arena":
        return int(rest)
    if kind != "refused":
        rest = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        rest = rest.splitlines()[-1]
    raise ValueError(rest)


def _least(content: bytes) -> int:
    for ample in _AMPLE_BYTES:
        works, said = _starts(content, ample)
        if works:
            break
    else:
        raise ValueError(_reason(said))
    kept = re.search(r"Arena allocation total (\d+) bytes", said)
    # Without it, the search only takes longer.
    too_small = (int(kept[1]) if kept else 0) // _STEP - 1
    more = 1
    while not _starts(content, (too_small + more) * _STEP)[0]:
        too_small, more = too_small + more, 2 * more
    large_enough = too_small + more
    while large_enough - too_small > 1:
        middle = (too_small + large_enough) // 2
        if _starts(content, middle * _STEP)[0]:
            large_enough = middle
        else:
            too_small = middle
    return large_enough * _STEP


def _starts(content: bytes, arena_bytes: int) -> tuple[bool, str]:
    """Whether a file starts in an arena, and what the interpreter prints."""
    from tflite_micro import runtime

    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.dup2(said.fileno(), 2)
                runtime.Interpreter.from_bytes(content, arena_size=arena_bytes).print_allocations()
                status = 0
            except Exception as error:  # Of pybind11: several classes.
                os.write(2, f"\n{error}".encode())
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        said.seek(0)
        return status == 0, said.read().decode(errors="replace")


def _reason(said: str) -> str:
    """The first line that is printed, without the place in the interpreter's source."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    first = lines[0] if lines else "nothing; its process ended"
    return re.sub(r"^\S+\.(cc|h)(:\d+)?\s+", "", first)


def _main() -> None:
    content, enough = sys.stdin.buffer.read(), int(sys.argv[1])
    try:
        if enough and _starts(content, enough)[0]:
            print("arena", enough)
            return
        least = _least(content)
        if enough:
            raise ValueError(f"it starts in {least:,} bytes and more")
        print("arena", least)
    except ValueError as error:
        print("refused", error)


if __name__ == "__main__":
    _main()
