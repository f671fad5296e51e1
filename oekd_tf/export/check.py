"""Opens a TFLite file again: what it holds, and what it says to real images."""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from oekd_tf.export.errors import ExportError
from oekd_tf.quiet import quiet_native_output

_BUILTINS = {value: name for name, value in vars(schema.BuiltinOperator).items() if name[0] != "_"}
_TYPES = {value: name.lower() for name, value in vars(schema.TensorType).items() if name[0] != "_"}
_BATCH = 50


class Contents(NamedTuple):
    """What is in a TFLite file.

    Attributes:
        operations: How often each operation occurs, by name.
        tensor_types: How many tensors there are of each type.
    """

    operations: dict[str, int]
    tensor_types: dict[str, int]


def contents(model: bytes) -> Contents:
    """Reads operations and tensor types from a TFLite file.

    Args:
        model: The file's content.

    Returns:
        Its contents. Operations outside of TFLite's own are named "CUSTOM:<name>".
    """
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model, 0))
    names = []
    for code in tree.operatorCodes:
        # Older files keep the code in the narrower field.
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        custom = number == schema.BuiltinOperator.CUSTOM
        names.append(f"CUSTOM:{code.customCode.decode()}" if custom else _BUILTINS[number])
    operations, types = Counter(), Counter()
    for graph in tree.subgraphs:
        operations.update(names[operator.opcodeIndex] for operator in graph.operators)
        types.update(_TYPES[tensor.type] for tensor in graph.tensors)
    return Contents(dict(sorted(operations.items())), dict(sorted(types.items())))


def check_contents(found: Contents, dtype: str, name: str) -> None:
    """Checks that a file holds TFLite's own operations and the types asked for.

    Args:
        found: What it holds.
        dtype: "float32" or "int8".
        name: Of the file, for the error.

    Raises:
        ExportError: An operation or a type does not belong there.
    """
    custom = [operation for operation in found.operations if operation.startswith("CUSTOM")]
    if custom:
        raise ExportError(
            f"Every operation of {name} must be one of TFLite's own. Received: {', '.join(custom)}"
        )
    wrong = {"int8": ("float32", "float16"), "float32": ("int8", "float16")}[dtype]
    strays = [f"{found.tensor_types[t]} of {t}" for t in wrong if t in found.tensor_types]
    if strays:
        raise ExportError(
            f"Every tensor of {name} must be of {dtype} or its accumulators. "
            f"Received: {', '.join(strays)}"
        )


class TfliteModel:
    """A TFLite classifier, run on raw images whatever its input and output types.

    Args:
        model: The file's content.

    Attributes:
        input: The input's details as LiteRT gives them.
        output: The output's.

    Example:
        >>> logits = TfliteModel(path.read_bytes()).logits(images)
    """

    def __init__(self, model: bytes):
        self._model = model
        self._interpreter = Interpreter(model_content=model)
        self.input = self._interpreter.get_input_details()[0]
        self.output = self._interpreter.get_output_details()[0]

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Runs images, several at a time where the file allows it.

        Args:
            images: Raw pixels, (images, height, width, channels).

        Returns:
            Float logits, (images, classes).
        """
        try:
            return self._run(images, _BATCH)
        except RuntimeError:
            # The converter may have put the batch of one into a constant, for instance where
            # the last feature maps are of 1×1 and pooling becomes a reshape.
            self._interpreter = Interpreter(model_content=self._model)
            return self._run(images, 1)

    def _run(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        results = []
        for start in range(0, len(images), batch_size):
            batch = self._quantize(images[start : start + batch_size])
            with quiet_native_output():
                self._interpreter.resize_tensor_input(self.input["index"], batch.shape)
                self._interpreter.allocate_tensors()
            self._interpreter.set_tensor(self.input["index"], batch)
            self._interpreter.invoke()
            results.append(self._dequantize(self._interpreter.get_tensor(self.output["index"])))
        return np.concatenate(results)

    def _quantize(self, images: np.ndarray) -> np.ndarray:
        images, dtype = images.astype(np.float32), self.input["dtype"]
        scale, zero_point = self.input["quantization"]
        if not scale:
            return images.astype(dtype)
        limits = np.iinfo(dtype)
        return np.clip(np.round(images / scale) + zero_point, limits.min, limits.max).astype(dtype)

    def _dequantize(self, values: np.ndarray) -> np.ndarray:
        scale, zero_point = self.output["quantization"]
        values = values.astype(np.float32)
        return (values - zero_point) * scale if scale else values


def compare(logits: np.ndarray, reference: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """A file's logits against the Keras student's and the labels.

    Args:
        logits: The file's, (images, classes).
        reference: The student's on the same images.
        labels: (images,).

    Returns:
        "accuracy", "agreement" (share of images with the same top class), and
        "largest_logit_difference".
    """
    top = logits.argmax(-1)
    return {
        "accuracy": float((top == labels).mean()),
        "agreement": float((top == reference.argmax(-1)).mean()),
        "largest_logit_difference": float(np.abs(logits - reference).max()),
    }
