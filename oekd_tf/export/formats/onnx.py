"""A student as ONNX, for ONNX Runtime and what reads its files."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oekd_tf.core.errors import ExportError
from oekd_tf.core.records import KindFacts, TensorFacts
from oekd_tf.export.formats.parts.base import ExactKind, Source, gzip_size

if TYPE_CHECKING:
    import numpy as np

_OPSET = 18
_BATCH = 100


class Onnx(ExactKind):
    """Float32 input `images`, raw pixels, channels last, and output `logits`."""

    order = 90
    file_name = "float32.onnx"

    def convert(self, source: Source) -> bytes:
        """A student as the content of an ONNX file.

        Args:
            source: What to convert; the batch size of its SavedModel becomes the file's.

        Returns:
            The file's content.

        Raises:
            ExportError: tf2onnx is not installed, or an operation has no counterpart.
        """
        import tensorflow as tf

        from oekd_tf.core.native_output import quiet_native_output
        from oekd_tf.export.formats.parts.signature import SIGNATURE

        try:
            import tf2onnx
        except ImportError as error:
            raise _not_installed(error) from error
        logging.getLogger("tf2onnx").setLevel(logging.ERROR)
        model = tf.saved_model.load(str(source.folder))
        signature = model.signatures[SIGNATURE]
        spec = signature.structured_input_signature[1]["images"]
        function = tf.function(
            lambda images: signature(images=images), input_signature=[spec], autograph=False
        )
        try:
            with quiet_native_output():
                onnx, _ = tf2onnx.convert.from_function(
                    function, input_signature=[spec], opset=_OPSET
                )
        except Exception as error:  # tf2onnx documents no class.
            raise ExportError(
                "Every operation of a student must have a counterpart in ONNX to be converted. "
                f"Received: {source.student}, of which tf2onnx says: {error}"
            ) from error
        return onnx.SerializeToString()

    def run(self, path: Path, images: "np.ndarray") -> tuple["np.ndarray", KindFacts]:
        """Opens an ONNX file in ONNX Runtime and runs images.

        Args:
            path: The file.
            images: Raw pixels, (images, height, width, channels).

        Returns:
            Logits, (images, classes), and for the manifest the compressed size, input and output,
            and how often each operation occurs.

        Raises:
            ExportError: onnxruntime is not installed.
        """
        import numpy as np

        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            raise _not_installed(error) from error
        content = path.read_bytes()
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        (given,), (taken,) = session.get_inputs(), session.get_outputs()
        size = given.shape[0] if isinstance(given.shape[0], int) else _BATCH
        logits = []
        for start in range(0, len(images), size):
            batch = images[start : start + size].astype(np.float32)
            missing = size - len(batch)
            # A file of a fixed batch takes full batches only; the last image fills it up.
            full = np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])
            logits.append(session.run([taken.name], {given.name: full})[0][: len(batch)])
        nodes = [node.op_type for node in onnx.load_from_string(content).graph.node]
        facts: KindFacts = {
            "gzip_bytes": gzip_size(content),
            "input": _tensor_facts(given),
            "output": _tensor_facts(taken),
            "operations": {operation: nodes.count(operation) for operation in sorted(set(nodes))},
        }
        return np.concatenate(logits), facts


def _tensor_facts(value: Any) -> TensorFacts:
    shape = [size if isinstance(size, int) else -1 for size in value.shape]
    return {"name": value.name, "dtype": "float32", "shape": shape}


def _not_installed(error: ImportError) -> ExportError:
    return ExportError(
        "onnx needs the packages tf2onnx, onnx and onnxruntime (pip install 'oekd-tf[onnx]'). "
        f"Received: {error}"
    )
