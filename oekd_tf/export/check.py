"""What a TFLite file holds, and how far its answers are from the student's."""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from oekd_tf.export.errors import ExportError
from oekd_tf.export.formats import Format

_BUILTINS = {value: name for name, value in vars(schema.BuiltinOperator).items() if name[0] != "_"}
_TYPES = {value: name.lower() for name, value in vars(schema.TensorType).items() if name[0] != "_"}


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


def check_contents(found: Contents, what: Format, name: str) -> None:
    """Checks that a file holds TFLite's own operations and the types of its format.

    Args:
        found: What it holds.
        what: Its format.
        name: Of the file, for the error.

    Raises:
        ExportError: An operation or a type does not belong there, or the weights' type is missing.
    """
    custom = [operation for operation in found.operations if operation.startswith("CUSTOM")]
    if custom:
        raise ExportError(
            f"Every operation of {name} must be one of TFLite's own. Received: {', '.join(custom)}"
        )
    types = what.kind.tensor_types
    strays = [f"{count} of {t}" for t, count in found.tensor_types.items() if t not in types]
    if strays:
        raise ExportError(
            f"Every tensor of {name} must be of {', '.join(types)}. Received: {', '.join(strays)}"
        )
    if what.kind.required_type not in found.tensor_types:
        small = (
            "; the converter leaves kernels of fewer than 1,024 weights in float here, not in int8"
        )
        raise ExportError(
            f"Weights of {name} must be of {what.kind.required_type}"
            f"{small if what.kind_name == 'dynamic' else ''}. "
            f"Received: tensors of {', '.join(found.tensor_types)}"
        )


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
