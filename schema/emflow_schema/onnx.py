"""What an .onnx file says of its inputs and outputs: name, type, shape, quantisation, and whether an output is
confidences.

Read without the onnx package, which neither the host nor a board needs for anything else: the few fields of its
protocol buffers are found by their numbers in https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. Weights are
skipped, not read.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Iterator
from typing import Any

from emflow_schema.graph import CONFIDENCES, PASSES_ON, RAW, SUM, UNKNOWN, Graph, Operator
from emflow_schema.model_facts import ModelFacts, TensorFacts
from emflow_schema.onnx_quantization import Node, Quantization

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_TYPE = 1, 2, 4
_INIT_SIZES, _INIT_TYPE, _INIT_FLOATS, _INIT_INTEGERS, _INIT_NAME, _INIT_RAW = 1, 2, 4, 5, 8, 9
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

_RANGES = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-32768, 32767), "int32": (-(1 << 31), (1 << 31) - 1)}
"""The least and the largest zero point of each quantised type."""

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
    nodes: list[Node] = []
    weights: set[str] = set()
    constants: dict[str, int | float] = {}
    inputs: list[tuple[int, int]] = []
    outputs: list[tuple[int, int]] = []
    for number, value in _fields(data, start, end):
        if number == _GRAPH_NODE:
            nodes.append(_node(data, *value))
        elif number == _GRAPH_INITIALIZER:
            name = _text(data, value, _INIT_NAME)
            weights.add(name)
            constant = _single_number(data, value)
            if constant is not None:
                constants[name] = constant
        elif number in (_GRAPH_INPUT, _GRAPH_OUTPUT):
            (inputs if number == _GRAPH_INPUT else outputs).append(value)
    graph, quantization = Graph(map(_operator, nodes)), Quantization(nodes, constants)
    takes = [_tensor(data, *value) for value in inputs]
    takes = [_quantized(tensor, *quantization.of_input(tensor.name)) for tensor in takes if tensor.name not in weights]
    gives = [_tensor(data, *value, graph) for value in outputs]
    gives = [_quantized(tensor, *quantization.of_output(tensor.name)) for tensor in gives]
    if not gives:
        raise ValueError
    return ModelFacts(tuple(takes), tuple(gives), gives[0].values == CONFIDENCES)


def _node(data: Any, start: int, end: int) -> Node:
    inputs, outputs, kind = [], [], ""
    for number, value in _fields(data, start, end):
        if number == _NODE_INPUT:
            inputs.append(_decoded(data, value))
        elif number == _NODE_OUTPUT:
            outputs.append(_decoded(data, value))
        elif number == _NODE_TYPE:
            kind = _decoded(data, value)
    return Node(kind, inputs, outputs)


def _operator(node: Node) -> Operator:
    values = node.inputs[_VALUES.get(node.kind, slice(1))]
    return Operator(_EFFECTS.get(node.kind, UNKNOWN), tuple(values), tuple(node.outputs))


def _quantized(tensor: TensorFacts, scale: float, zero_point: int) -> TensorFacts:
    """The tensor with its quantisation; only whole numbers have one."""
    if tensor.dtype not in _RANGES or not math.isfinite(scale) or scale <= 0:
        return tensor
    low, high = _RANGES[tensor.dtype]
    return dataclasses.replace(tensor, scale=scale, zero_point=zero_point) if low <= zero_point <= high else tensor


def _single_number(data: Any, message: tuple[int, int]) -> int | float | None:
    """The element of an initializer that has one, of the types of scales and zero points; None for all others."""
    if any(size != 1 for size in _of(data, message, _INIT_SIZES) if isinstance(size, int)):
        return None
    kind = next(iter(_of(data, message, _INIT_TYPE)), 0)
    form = {1: "<f", 2: "<B", 3: "<b", 4: "<H", 5: "<h", 6: "<i"}.get(kind)
    raw = [*_of(data, message, _INIT_RAW), *(_of(data, message, _INIT_FLOATS) if kind == 1 else [])]
    for value in raw:
        if form and value[1] - value[0] == struct.calcsize(form):
            number: int | float = struct.unpack_from(form, data, value[0])[0]
            return number
    for value in _of(data, message, _INIT_INTEGERS) if form and kind != 1 else ():
        # One number, or a packed list of one.
        integer, end = (value, None) if isinstance(value, int) else _varint(data, value[0])
        if end is None or end == value[1]:
            return integer - (1 << 64) if integer >> 63 else integer
    return None


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
