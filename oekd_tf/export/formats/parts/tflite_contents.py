"""What a TFLite file holds."""

from collections import Counter
from typing import NamedTuple

from ai_edge_litert import schema_py_generated as schema

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


def read(model: bytes) -> Contents:
    """Reads operations and tensor types from a TFLite file.

    Args:
        model: Content of the file.

    Returns:
        What it holds. Operations outside of TFLite's own are named "CUSTOM:<name>".

    Example:
        >>> read(Path("savedmodels/demo/student_5/int8.tflite").read_bytes()).tensor_types
    """
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model, 0))
    names = []
    for code in tree.operatorCodes:
        # Older files keep the code in the narrower field.
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        custom = number == schema.BuiltinOperator.CUSTOM
        names.append(f"CUSTOM:{code.customCode.decode()}" if custom else _BUILTINS[number])
    operations: Counter[str] = Counter()
    types: Counter[str] = Counter()
    for graph in tree.subgraphs:
        operations.update(names[operator.opcodeIndex] for operator in graph.operators)
        types.update(_TYPES[tensor.type] for tensor in graph.tensors)
    return Contents(dict(sorted(operations.items())), dict(sorted(types.items())))
