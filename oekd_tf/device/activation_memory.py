"""Peak memory of a TFLite network's activations, from its graph."""

import math
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

_BITS = {
    schema.TensorType.INT2: 2,
    schema.TensorType.INT4: 4,
    schema.TensorType.UINT4: 4,
    schema.TensorType.INT8: 8,
    schema.TensorType.UINT8: 8,
    schema.TensorType.BOOL: 8,
    schema.TensorType.INT16: 16,
    schema.TensorType.UINT16: 16,
    schema.TensorType.FLOAT16: 16,
    schema.TensorType.BFLOAT16: 16,
    schema.TensorType.FLOAT64: 64,
    schema.TensorType.INT64: 64,
    schema.TensorType.UINT64: 64,
    schema.TensorType.COMPLEX64: 64,
    schema.TensorType.COMPLEX128: 128,
}


def peak_activation_bytes(model: bytes, batch_size: int = 1) -> int:
    """Peak size of the activations that are alive at one operation.

    LiteRT does not report the size of its tensor arena. This is a lower bound of it: the tensors
    between their first and last use, and the network's input and output, which the interpreter
    keeps throughout. Not included are weights, also those that are unpacked first, scratch memory
    of kernels (a convolution without XNNPACK may unroll its patches), and copies of a delegate.

    Args:
        model: Content of the TFLite file.
        batch_size: Batch size, for a file whose batch is free.

    Returns:
        The peak size, in bytes.

    Example:
        >>> peak_activation_bytes(Path("student_5/int8.tflite").read_bytes())
    """
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model, 0))
    graph = tree.subgraphs[0]
    steps = len(graph.operators)
    born, dies = {int(index): 0 for index in graph.inputs}, {}
    for step, operator in enumerate(graph.operators):
        used = [index for index in _indices(operator.inputs) if index in born]
        if not used:
            # Operations that do not depend on the input unpack weights, from float16 say.
            continue
        for index in used:
            dies[index] = step
        for index in [*_indices(operator.outputs), *_indices(operator.intermediates)]:
            born.setdefault(index, step)
            dies.setdefault(index, step)
    for index in [*graph.inputs, *graph.outputs]:
        dies[index] = steps
    change = np.zeros(steps + 2, np.int64)
    for index, first in born.items():
        size = _bytes(graph.tensors[index], batch_size)
        change[first] += size
        change[dies[index] + 1] -= size
    return int(change.cumsum().max())


def _indices(indices: Any) -> list[int]:
    # An optional input that is not given is -1.
    return [] if indices is None else [int(index) for index in indices if index >= 0]


def _bytes(tensor: Any, batch_size: int) -> int:
    shape = [] if tensor.shape is None else [int(size) for size in tensor.shape]
    signature = tensor.shapeSignature
    if signature is not None and len(signature) and signature[0] < 0:
        shape[0] *= batch_size
    return math.ceil(math.prod(shape) * _BITS.get(tensor.type, 32) / 8)
