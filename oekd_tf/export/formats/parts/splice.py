"""One TFLite file made of several of the same network, operation by operation."""

import copy
from collections.abc import Mapping
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

_IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
_CODES = schema.BuiltinOperator
# The versions of these operations that take int16 as well.
_QUANTIZE, _DEQUANTIZE = (_CODES.QUANTIZE, 3), (_CODES.DEQUANTIZE, 3)
_FLOAT = schema.TensorType.FLOAT32


class Splicer:
    """A network in several precisions, of whose operations each can be taken from any.

    The converter names what an operation gives alike in all precisions; where an operation takes
    what another precision gave, the tensor is quantized or dequantized on the way, once.

    Args:
        files: Content of the network's TFLite files, of one graph each, by the name of their
            precision; the first is the one whose input and output the spliced files have.

    Raises:
        ValueError: The files are not of the same operations.

    Example:
        >>> splicer = Splicer({"int8": int8_content, "float32": float_content})
        >>> content = splicer.splice({splicer.operations[0]: "float32"})

    Attributes:
        operations: Names of what the operations give, in the order in which they run.
    """

    def __init__(self, files: Mapping[str, bytes]):
        self._versions = {name: _Version(content) for name, content in files.items()}
        self._ends = next(iter(files))
        first = self._versions[self._ends]
        self.operations = tuple(first.operators)
        for name, version in self._versions.items():
            if set(version.operators) != set(self.operations):
                raise ValueError(
                    "Files to splice must be of the same operations. Received: "
                    f"{len(self.operations)} in {self._ends} and {len(version.operators)} in "
                    f"{name}, of other names"
                )

    def constants(self, precision: str, operation: str) -> list[str]:
        """Names of the constants that an operation takes in a precision."""
        version = self._versions[precision]
        taken = self._constants(precision, operation)
        return [version.graph.tensors[index].name.decode() for index in taken]

    def constant_bytes(self, precision: str, operation: str) -> int:
        """Size of the constants that an operation takes in a precision, in bytes."""
        version = self._versions[precision]
        return sum(len(version.data(index)) for index in self._constants(precision, operation))

    def splice(self, precision: Mapping[str, str]) -> bytes:
        """A file whose operations have the precisions that are asked for.

        Args:
            precision: Names of the precision by name of the operation; the first file's for
                those that are left out.

        Returns:
            The content of a TFLite file.
        """
        writer = _Writer(self._versions)
        ends = self._versions[self._ends]
        for index in ends.graph.inputs:
            writer.begin(self._ends, index)
        for name in self.operations:
            writer.add(precision.get(name, self._ends), name)
        outputs = [writer.taken(self._ends, index) for index in ends.graph.outputs]
        return writer.content(self._ends, outputs)

    def _constants(self, precision: str, operation: str) -> list[int]:
        version = self._versions[precision]
        inputs = version.operators[operation].inputs
        return [index for index in inputs if index >= 0 and version.data(index) is not None]


class _Version:
    """The network in one precision."""

    def __init__(self, content: bytes):
        self.tree = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
        if len(self.tree.subgraphs) != 1:
            raise ValueError(
                f"Files to splice must be of one graph. Received: {len(self.tree.subgraphs)}"
            )
        self.graph = self.tree.subgraphs[0]
        self.operators: dict[str, Any] = {}
        # What the converter itself quantizes anew is the same tensor, as far as the network goes.
        self._same_as: dict[int, int] = {}
        for operator in self.graph.operators:
            if self.code(operator) == _CODES.QUANTIZE:
                self._same_as[operator.outputs[0]] = operator.inputs[0]
            else:
                self.operators[self.name(operator.outputs[0])] = operator

    def code(self, operator: Any) -> int:
        code = self.tree.operatorCodes[operator.opcodeIndex]
        # Older files keep it in the narrower field.
        return max(code.builtinCode, code.deprecatedBuiltinCode)

    def name(self, tensor: int) -> str:
        while tensor in self._same_as:
            tensor = self._same_as[tensor]
        return self.graph.tensors[tensor].name.decode()

    def data(self, tensor: int) -> Any:
        return self.tree.buffers[self.graph.tensors[tensor].buffer].data


class _Writer:
    """A file that grows by an operation at a time."""

    def __init__(self, versions: Mapping[str, _Version]):
        self._versions = versions
        self._tensors: list[Any] = []
        self._buffers = [schema.BufferT()]
        self._operators: list[Any] = []
        self._codes: dict[tuple[int, int], int] = {}
        # New tensors, by precision and the tensor's number there.
        self._known: dict[tuple[str, int], int] = {}
        # What gives each tensor: its precision and its number there.
        self._made: dict[str, tuple[str, int]] = {}

    def begin(self, precision: str, tensor: int) -> None:
        """Adds an input of the network."""
        self._made[self._versions[precision].name(tensor)] = precision, tensor
        self._copy(precision, tensor)

    def add(self, precision: str, name: str) -> None:
        """Adds an operation."""
        version = self._versions[precision]
        original = version.operators[name]
        operator = copy.copy(original)
        operator.inputs = [
            self.taken(precision, index) if index >= 0 else index for index in original.inputs
        ]
        for index in original.outputs:
            self._made[version.name(index)] = precision, index
        operator.outputs = [self._copy(precision, index) for index in original.outputs]
        operator.opcodeIndex = self._code(
            version.code(original), version.tree.operatorCodes[original.opcodeIndex].version
        )
        self._operators.append(operator)

    def taken(self, precision: str, tensor: int) -> int:
        """A tensor as an operation of a precision takes it; added if it is not there yet."""
        if (found := self._known.get((precision, tensor))) is not None:
            return found
        version = self._versions[precision]
        if version.data(tensor) is not None:
            return self._copy(precision, tensor)
        source = self._known[self._made[version.name(tensor)]]
        target = self._copy(precision, tensor)
        to_float = self._tensors[target].type == _FLOAT
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(*(_DEQUANTIZE if to_float else _QUANTIZE))
        operator.inputs, operator.outputs = [source], [target]
        kind = "DequantizeOptions" if to_float else "QuantizeOptions"
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        operator.builtinOptions = getattr(schema, f"{kind}T")()
        self._operators.append(operator)
        return target

    def content(self, precision: str, outputs: list[int]) -> bytes:
        """The file.

        Args:
            precision: The precision whose input and output it has.
            outputs: Numbers of its outputs.
        """
        ends = self._versions[precision]
        graph = copy.copy(ends.graph)
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs = [self._known[precision, index] for index in ends.graph.inputs]
        graph.outputs = outputs
        tree = schema.ModelT()
        tree.version, tree.description = _SCHEMA_VERSION, ends.tree.description
        tree.subgraphs, tree.buffers = [graph], self._buffers
        tree.operatorCodes = []
        # In the order in which they were numbered.
        for code, number in self._codes:
            entry = schema.OperatorCodeT()
            entry.builtinCode, entry.version = code, number
            entry.deprecatedBuiltinCode = min(code, 127)
            tree.operatorCodes.append(entry)
        numbers = {
            **dict(zip(ends.graph.inputs, graph.inputs, strict=True)),
            **dict(zip(ends.graph.outputs, outputs, strict=True)),
        }
        tree.signatureDefs = [_signature(one, numbers) for one in ends.tree.signatureDefs or ()]
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(tree.Pack(builder), _IDENTIFIER)
        return bytes(builder.Output())

    def _copy(self, precision: str, tensor: int) -> int:
        version = self._versions[precision]
        new = copy.copy(version.graph.tensors[tensor])
        new.buffer = 0
        data = version.data(tensor)
        if data is not None:
            buffer = schema.BufferT()
            buffer.data, new.buffer = data, len(self._buffers)
            self._buffers.append(buffer)
        self._known[precision, tensor] = len(self._tensors)
        self._tensors.append(new)
        return len(self._tensors) - 1

    def _code(self, code: int, version: int) -> int:
        return self._codes.setdefault((code, version), len(self._codes))


def _signature(original: Any, numbers: Mapping[int, int]) -> Any:
    signature = copy.copy(original)
    for side in ("inputs", "outputs"):
        tensors = [copy.copy(tensor) for tensor in getattr(original, side)]
        for tensor in tensors:
            tensor.tensorIndex = numbers[tensor.tensorIndex]
        setattr(signature, side, tensors)
    return signature
