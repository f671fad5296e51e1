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


def layer_name(tensor: str, student: str) -> str:
    """The student's layers that make a tensor of a TFLite file.

    Args:
        tensor: Name of the tensor: what was fused into an operation, separated by semicolons, each
            as "<student>/<layer>/<operation>", with a number after both names where the network
            was copied.
        student: Name of the student.

    Returns:
        Names of layers, joined by "+"; the tensor's own where it names none.

    Example:
        >>> layer_name("small_1/norm_1/batchnorm/add;small_1/conv_1/convolution", "small")
        'conv+norm'
    """
    found = []
    for part in tensor.split(";"):
        model, _, rest = part.partition("/")
        copy = model.removeprefix(student)
        if rest and model.startswith(student) and (not copy or copy[1:].isdigit()):
            layer = rest.partition("/")[0]
            found.append(layer.removesuffix(copy) if copy else layer)
    return "+".join(sorted(set(found))) or tensor
