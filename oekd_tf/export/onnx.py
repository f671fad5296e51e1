"""A student as ONNX, for ONNX Runtime and what reads its files."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from oekd_tf.export.errors import ExportError
from oekd_tf.export.saved_model import SIGNATURE
from oekd_tf.quiet import quiet_native_output

_OPSET = 18
_BATCH = 100


def convert_to_onnx(source: str | Path, name: str) -> bytes:
    """An ONNX file with float32 input `images`, raw pixels, channels last, and output `logits`.

    Args:
        source: What `write_converter_input` wrote; its batch size becomes the file's.
        name: Of the student, for errors.

    Returns:
        The file's content.

    Raises:
        ExportError: tf2onnx is not installed, or an operation has no counterpart.
    """
    try:
        import tf2onnx
    except ImportError as error:
        raise _not_installed(error) from error
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    model = tf.saved_model.load(str(source))
    signature = model.signatures[SIGNATURE]
    spec = signature.structured_input_signature[1]["images"]
    function = tf.function(
        lambda images: signature(images=images), input_signature=[spec], autograph=False
    )
    try:
        with quiet_native_output():
            onnx, _ = tf2onnx.convert.from_function(function, input_signature=[spec], opset=_OPSET)
    except Exception as error:  # tf2onnx documents no class.
        raise ExportError(
            "Every operation of a student must have a counterpart in ONNX to be converted. "
            f"Received: {name}, of which tf2onnx says: {error}"
        ) from error
    return onnx.SerializeToString()


def run_onnx(model: bytes, images: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """Opens an ONNX file in ONNX Runtime and runs images.

    Args:
        model: The file's content.
        images: Raw pixels, (images, height, width, channels).

    Returns:
        Logits, (images, classes), and for the manifest the input and output and how often each
        operation occurs.

    Raises:
        ExportError: onnxruntime is not installed.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise _not_installed(error) from error
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (given,), (taken,) = session.get_inputs(), session.get_outputs()
    size = given.shape[0] if isinstance(given.shape[0], int) else _BATCH
    logits = []
    for start in range(0, len(images), size):
        batch = images[start : start + size].astype(np.float32)
        missing = size - len(batch)
        # A file of a fixed batch takes full batches only; the last image fills it up.
        full = np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])
        logits.append(session.run([taken.name], {given.name: full})[0][: len(batch)])
    nodes = [node.op_type for node in onnx.load_from_string(model).graph.node]
    facts = {
        "input": _tensor_facts(given),
        "output": _tensor_facts(taken),
        "operations": {operation: nodes.count(operation) for operation in sorted(set(nodes))},
    }
    return np.concatenate(logits), facts


def _tensor_facts(value: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else -1 for size in value.shape]
    return {"name": value.name, "dtype": "float32", "shape": shape}


def _not_installed(error: ImportError) -> ExportError:
    return ExportError(
        "onnx needs the packages tf2onnx, onnx and onnxruntime (pip install 'oekd-tf[onnx]'). "
        f"Received: {error}"
    )
