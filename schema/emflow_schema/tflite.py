"""What a .tflite file says about its tensors that the agent's metadata cannot: quantisation, and a softmax at its end.

The wire has name, type and shape only, and one 8-bit type for both uint8 and int8. The file is a flatbuffer; the few
fields needed are read here, so that a board needs no flatbuffers package. Field numbers: TensorFlow Lite's schema.fbs.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# schema.fbs: Model, SubGraph, Tensor, QuantizationParameters, Operator, OperatorCode; numbers in declaration order.
_MODEL_CODES, _MODEL_SUBGRAPHS = 1, 2
_GRAPH_TENSORS, _GRAPH_INPUTS, _GRAPH_OUTPUTS, _GRAPH_OPERATORS = 0, 1, 2, 3
_TENSOR_TYPE, _TENSOR_QUANTIZATION = 1, 4
_QUANT_SCALE, _QUANT_ZERO_POINT = 2, 3
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS = 0, 1, 2
_CODE_OLD_BUILTIN, _CODE_BUILTIN = 0, 3
# BuiltinOperator: what makes confidences (LOGISTIC, SOFTMAX), and what only hands values on (DEQUANTIZE, RESHAPE,
# SQUEEZE, QUANTIZE).
_CONFIDENCES = frozenset((14, 25))
_HANDS_ON = frozenset((6, 22, 43, 114))
_TYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 7: "int16", 9: "int8", 10: "float64"}


@dataclass(frozen=True)
class TensorFacts:
    """One tensor. real value = scale * (stored - zero_point); scale 0 means that it is not quantised."""

    dtype: str
    scale: float = 0.0
    zero_point: int = 0


@dataclass(frozen=True)
class ModelFacts:
    """A model's first input and its outputs, and whether the first is confidences already (softmax or sigmoid)."""

    input: TensorFacts
    outputs: tuple[TensorFacts, ...]
    confidences: bool


def model_facts(folder: Path) -> ModelFacts | None:
    """Read the one .tflite in a model's folder; None where there is none (a compiled model) or it cannot be read."""
    try:
        files = sorted(folder.rglob("*.tflite"))
        if len(files) != 1:
            return None
        with files[0].open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _read(data)
    except (OSError, ValueError, IndexError, KeyError, struct.error):
        return None


def _read(data: Any) -> ModelFacts:
    if data[4:8] != b"TFL3":
        raise ValueError("no TensorFlow Lite file")
    model = _Table(data, _at(data, "<I", 0))
    graph = model.tables(_MODEL_SUBGRAPHS)[0]
    tensors = graph.tables(_GRAPH_TENSORS)
    outputs = graph.numbers(_GRAPH_OUTPUTS, "i")
    return ModelFacts(
        input=_tensor(tensors[graph.numbers(_GRAPH_INPUTS, "i")[0]]),
        outputs=tuple(_tensor(tensors[output]) for output in outputs),
        confidences=_made_by(model.tables(_MODEL_CODES), graph.tables(_GRAPH_OPERATORS), outputs[0]) in _CONFIDENCES,
    )


def _made_by(codes: list[_Table], operators: list[_Table], tensor: int) -> int:
    """The operator that a tensor's values come from; -1 when none does."""
    # Operators stand in the order they run in, so one walk backwards finds the whole way.
    for operator in reversed(operators):
        if tensor not in operator.numbers(_OPERATOR_OUTPUTS, "i"):
            continue
        code = codes[operator.number(_OPERATOR_CODE, "<I")]
        # Files from before 2020 have the operator in the older, one-byte field.
        kind = max(code.number(_CODE_BUILTIN, "<i"), code.number(_CODE_OLD_BUILTIN, "<b"))
        if kind not in _HANDS_ON:
            return kind
        tensor = operator.numbers(_OPERATOR_INPUTS, "i")[0]
    return -1


def _tensor(tensor: _Table) -> TensorFacts:
    dtype = _TYPES[tensor.number(_TENSOR_TYPE, "<b")]
    quantization = tensor.table(_TENSOR_QUANTIZATION)
    scale = quantization.numbers(_QUANT_SCALE, "f") if quantization else []
    zero = quantization.numbers(_QUANT_ZERO_POINT, "q") if quantization else []
    # One scale for the whole tensor; activations have no other kind.
    return TensorFacts(dtype, *((float(scale[0]), int(zero[0])) if len(scale) == len(zero) == 1 else ()))


class _Table:
    """A flatbuffer table: the signed offset at its start leads back to the vtable with the place of each field."""

    def __init__(self, data: Any, position: int) -> None:
        self._data, self._position = data, position
        self._vtable = position - _at(data, "<i", position)
        self._size = _at(data, "<H", self._vtable)

    def _field(self, number: int) -> int:
        """Where a field is; 0 when it is not written, so has its default."""
        entry = 4 + 2 * number
        offset = _at(self._data, "<H", self._vtable + entry) if entry < self._size else 0
        return self._position + offset if offset else 0

    def number(self, field: int, form: str) -> int:
        place = self._field(field)
        return _at(self._data, form, place) if place else 0

    def table(self, field: int) -> _Table | None:
        place = self._field(field)
        return _Table(self._data, place + _at(self._data, "<I", place)) if place else None

    def numbers(self, field: int, code: str) -> list[Any]:
        start, length = self._vector(field)
        return np.frombuffer(self._data, np.dtype(code).newbyteorder("<"), length, start).tolist() if length else []

    def tables(self, field: int) -> list[_Table]:
        start, length = self._vector(field)
        places = [start + 4 * number for number in range(length)]
        return [_Table(self._data, place + _at(self._data, "<I", place)) for place in places]

    def _vector(self, field: int) -> tuple[int, int]:
        """Where a vector's items begin and how many they are."""
        place = self._field(field)
        if not place:
            return 0, 0
        place += _at(self._data, "<I", place)
        return place + 4, _at(self._data, "<I", place)


def _at(data: Any, form: str, position: int) -> int:
    if position < 0:
        raise ValueError("points out of the file")
    return int(struct.unpack_from(form, data, position)[0])
