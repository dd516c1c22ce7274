"""What an .onnx file says of its inputs and outputs: name, type, shape, and whether an output's values are confidences.

Read without the onnx package, which neither the host nor a board needs for anything else: the few fields of its
protocol buffers are found by their numbers in https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. Weights are
skipped, not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from emflow_schema.graph import CONFIDENCES, PASSES_ON, RAW, SUM, UNKNOWN, Graph, Operator
from emflow_schema.model_facts import ModelFacts, TensorFacts

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_TYPE = 1, 2, 4
_TENSOR_NAME = 8
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TYPE_TENSOR = 1
_TENSOR_ELEMENTS, _TENSOR_SHAPE = 1, 2
_SHAPE_DIMENSION, _DIMENSION_SIZE = 1, 1

# TensorProto.DataType.
_TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
}

_EFFECTS = {
    **dict.fromkeys(("Softmax", "Sigmoid", "HardSigmoid", "QLinearSigmoid", "QLinearSoftmax"), CONFIDENCES),
    **dict.fromkeys(("Conv", "Gemm", "MatMul", "FusedConv", "FusedMatMul", "ConvTranspose", "LogSoftmax"), RAW),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger"), RAW),
    **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Identity", "Cast"), PASSES_ON),
    **dict.fromkeys(("Slice", "Split", "Gather", "Concat", "DequantizeLinear", "QuantizeLinear"), PASSES_ON),
    **dict.fromkeys(("Add", "QLinearAdd"), SUM),
}
# Which inputs hold values, where it is not only the first.
_VALUES = {"Concat": slice(None), "Add": slice(None), "QLinearAdd": slice(0, 4, 3)}

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


def read(data: Any) -> ModelFacts:
    """Read a model's bytes (or a memory map of its file).

    Raises:
        ValueError: these bytes are no ONNX model, or a damaged one.
    """
    try:
        graphs = [value for number, value in _fields(data, 0, len(data)) if number == _MODEL_GRAPH]
        return _facts(data, *graphs[0])
    except (IndexError, TypeError, UnicodeDecodeError, ValueError):
        raise ValueError("no ONNX model, or a damaged one") from None


def _facts(data: Any, start: int, end: int) -> ModelFacts:
    operators, weights = [], set()
    inputs: list[tuple[int, int]] = []
    outputs: list[tuple[int, int]] = []
    for number, value in _fields(data, start, end):
        if number == _GRAPH_NODE:
            operators.append(_operator(data, *value))
        elif number == _GRAPH_INITIALIZER:
            weights.add(_text(data, value, _TENSOR_NAME))
        elif number in (_GRAPH_INPUT, _GRAPH_OUTPUT):
            (inputs if number == _GRAPH_INPUT else outputs).append(value)
    graph = Graph(operators)
    takes = [tensor for tensor in (_tensor(data, *value) for value in inputs) if tensor.name not in weights]
    gives = [_tensor(data, *value, graph) for value in outputs]
    if not gives:
        raise ValueError
    return ModelFacts(tuple(takes), tuple(gives), gives[0].values == CONFIDENCES)


def _operator(data: Any, start: int, end: int) -> Operator:
    inputs, outputs, kind = [], [], ""
    for number, value in _fields(data, start, end):
        if number == _NODE_INPUT:
            inputs.append(_decoded(data, value))
        elif number == _NODE_OUTPUT:
            outputs.append(_decoded(data, value))
        elif number == _NODE_TYPE:
            kind = _decoded(data, value)
    values = inputs[_VALUES.get(kind, slice(1))]
    return Operator(_EFFECTS.get(kind, UNKNOWN), tuple(values), tuple(outputs))


def _tensor(data: Any, start: int, end: int, graph: Graph | None = None) -> TensorFacts:
    name, kind, shape = "", 0, []
    for number, value in _fields(data, start, end):
        if number == _VALUE_NAME:
            name = _decoded(data, value)
        elif number == _VALUE_TYPE:
            for tensor in _of(data, value, _TYPE_TENSOR):
                kind = next(iter(_of(data, tensor, _TENSOR_ELEMENTS)), 0)
                for sizes in _of(data, tensor, _TENSOR_SHAPE):
                    shape = [_size(data, one) for one in _of(data, sizes, _SHAPE_DIMENSION)]
    values = graph.values_of(name) if graph else ""
    return TensorFacts(_TYPES.get(kind, f"type {kind}"), name=name, shape=tuple(shape), values=values)


def _size(data: Any, dimension: tuple[int, int]) -> int:
    size = next(iter(_of(data, dimension, _DIMENSION_SIZE)), -1)
    return size if 0 < size < 1 << 31 else -1


def _of(data: Any, message: tuple[int, int], wanted: int) -> list[Any]:
    return [value for number, value in _fields(data, *message) if number == wanted]


def _text(data: Any, message: tuple[int, int], wanted: int) -> str:
    return next((_decoded(data, value) for number, value in _fields(data, *message) if number == wanted), "")


def _decoded(data: Any, value: tuple[int, int]) -> str:
    return bytes(data[value[0] : value[1]]).decode()


def _fields(data: Any, start: int, end: int) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a message: a number, or the range of its bytes.

    Raises:
        ValueError, IndexError: the message is damaged.
    """
    while start < end:
        key, start = _varint(data, start)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, start = _varint(data, start)
            yield number, value
        elif kind == _BYTES:
            length, start = _varint(data, start)
            if start + length > end:
                raise ValueError
            yield number, (start, start + length)
            start += length
        elif kind in (_FIXED64, _FIXED32):
            start += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError


def _varint(data: Any, start: int) -> tuple[int, int]:
    value = 0
    for place in range(_LONGEST_VARINT):
        byte = data[start + place]
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, start + place + 1
    raise ValueError
