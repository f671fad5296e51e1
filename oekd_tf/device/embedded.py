"""What a TFLite file says of itself: the files inside that `oekd export` puts there."""

import zipfile
from pathlib import Path

from oekd_tf.core.contract import check_contract
from oekd_tf.core.json_files import parse_json
from oekd_tf.core.records import Contract
from oekd_tf.core.regular import regular

CONTRACT = "contract.json"
# A file from elsewhere may claim any size.
_MOST_BYTES = 16 * 2**20


def embedded_contract(model: str | Path) -> Contract | None:
    """The contract inside a TFLite file.

    Args:
        model: Path of the file.

    Returns:
        The contract; None if the file holds none, or is no file that can be read.

    Raises:
        ValueError: The contract inside is damaged.

    Example:
        >>> embedded_contract("savedmodels/demo/student_5/int8.tflite")["class_names"]
    """
    try:
        with zipfile.ZipFile(regular(model)) as archive, archive.open(CONTRACT) as file:
            content = file.read(_MOST_BYTES)
    except (OSError, KeyError, ValueError, NotImplementedError, RuntimeError, zipfile.BadZipFile):
        return None
    try:
        return parse_json(content.decode(), Contract, check_contract)
    except ValueError as error:
        raise ValueError(
            f"The {CONTRACT} inside {model} must be what was exported. Received: {error}"
        ) from None
