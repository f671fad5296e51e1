"""C++ sources of data: arrays, texts and names."""

import re
from collections.abc import Iterable

_A_LINE = 12
# What `tflite::MicroMutableOpResolver` names otherwise than by its rule.
_IRREGULAR = {
    "BATCH_MATMUL": "AddBatchMatMul",
    "CUMSUM": "AddCumSum",
    "PADV2": "AddPadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
}


def array(values: Iterable[int], hexadecimal: bool = False) -> str:
    """The lines of an array's content.

    Args:
        values: Integers.
        hexadecimal: Whether to write them as bytes, 0x1c.

    Returns:
        Lines without the braces.

    Example:
        >>> array(b"AB", hexadecimal=True)
        '    0x41, 0x42,'
    """
    words = [f"0x{value:02x}" if hexadecimal else str(value) for value in values]
    return "\n".join(
        f"    {', '.join(words[start : start + _A_LINE])},"
        for start in range(0, len(words), _A_LINE)
    )


def bytes_of_array(source: str, name: str) -> bytes:
    """What an array of bytes in a source file holds.

    Args:
        source: The file's text.
        name: Name of the array.

    Raises:
        ValueError: There is no such array of bytes.
    """
    found = re.search(rf"\b{name}\[[^\]]*\] = {{([^}}]*)}};", source)
    if not found:
        raise ValueError(f"The source must hold an array {name}. Received: none")
    return bytes(int(word, 16) for word in re.findall(r"0x[0-9a-f]{2}", found[1]))


def constant(source: str, name: str) -> int:
    """The value of an integer constant in a source file.

    Args:
        source: The file's text.
        name: Name of the constant.

    Raises:
        ValueError: There is no such constant.
    """
    found = re.search(rf"\b{name} = (-?\d+);", source)
    if not found:
        raise ValueError(f"The source must hold a constant {name}. Received: none")
    return int(found[1])


def text(value: str) -> str:
    r"""A string literal, in UTF-8.

    Example:
        >>> text('50 "km/h"')
        '"50 \\"km/h\\""'
    """
    # Octal, because a hexadecimal escape takes in what follows it.
    return '"' + "".join(_character(byte) for byte in value.encode()) + '"'


def _character(byte: int) -> str:
    # A question mark could begin a trigraph.
    plain = 32 <= byte < 127 and chr(byte) not in '"\\?'
    return chr(byte) if plain else f"\\{chr(byte)}" if chr(byte) in '"\\?' else f"\\{byte:03o}"


def identifier(name: str) -> str:
    """A name as C++ allows it.

    Example:
        >>> identifier("student-1")
        'student_1'
    """
    found = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"_{found}" if found[:1].isdigit() else found


def resolver_call(operation: str) -> str:
    """The method of `tflite::MicroMutableOpResolver` that adds an operation.

    Args:
        operation: Name of the operation in TFLite's schema.

    Example:
        >>> resolver_call("DEPTHWISE_CONV_2D")
        'AddDepthwiseConv2D'
    """
    if operation in _IRREGULAR:
        return _IRREGULAR[operation]
    words = operation.split("_")
    return "Add" + "".join(word if word[0].isdigit() else word.capitalize() for word in words)
