"""What a .tflite file says about its inputs and outputs: name, type and shape, read from its flatbuffer.

Only these few fields are needed, so neither a runtime nor the flatbuffers package is. Field numbers: TensorFlow Lite's
schema.fbs, where a field's number is its place in the declaration.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_MODEL_SUBGRAPHS = 2
_GRAPH_TENSORS, _GRAPH_INPUTS, _GRAPH_OUTPUTS = 0, 1, 2
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_SIGNATURE = 0, 1, 3, 7

TYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8"}
"""TensorType, as far as inputs and outputs use it, by NumPy's names."""


@dataclass(frozen=True)
class Tensor:
    """One input or output; -1 in `shape` is a size that the model leaves open."""

    name: str
    type: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Network:
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def read(data: bytes) -> Network:
    """The inputs and outputs of a model's main graph.

    Raises:
        ValueError: these bytes are no TFLite model, or a damaged one.
    """
    # A flatbuffer's file identifier stands behind the offset of its root table; TFLite's is TFL3.
    if data[4:8] != b"TFL3":
        raise ValueError("no TFLite model")
    try:
        graph = _Table(data, _at(data, "<I", 0)).tables(_MODEL_SUBGRAPHS)[0]
        tensors = graph.tables(_GRAPH_TENSORS)
        inputs, outputs = graph.integers(_GRAPH_INPUTS), graph.integers(_GRAPH_OUTPUTS)
        return Network(tuple(_tensor(tensors[i]) for i in inputs), tuple(_tensor(tensors[i]) for i in outputs))
    except (struct.error, IndexError, ValueError):
        raise ValueError("a damaged TFLite model") from None


def _tensor(table: _Table) -> Tensor:
    shape, signature = table.integers(_TENSOR_SHAPE), table.integers(_TENSOR_SIGNATURE)
    number = table.byte(_TENSOR_TYPE)
    return Tensor(table.text(_TENSOR_NAME), TYPES.get(number, f"type {number}"), tuple(signature or shape))


class _Table:
    """A flatbuffer table: the signed offset at its start leads back to the vtable with the place of each field."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self._position = data, position
        self._vtable = position - _at(data, "<i", position)
        self._size = _at(data, "<H", self._vtable)

    def byte(self, field: int) -> int:
        place = self._field(field)
        return _at(self._data, "<b", place) if place else 0

    def text(self, field: int) -> str:
        start, length = self._vector(field, 1)
        return self._data[start : start + length].decode()

    def integers(self, field: int) -> list[int]:
        start, length = self._vector(field, 4)
        return list(struct.unpack_from(f"<{length}i", self._data, start))

    def tables(self, field: int) -> list[_Table]:
        start, length = self._vector(field, 4)
        places = range(start, start + 4 * length, 4)
        return [_Table(self._data, place + _at(self._data, "<I", place)) for place in places]

    def _field(self, number: int) -> int:
        """Where a field is; 0 when it is not written, so has its default."""
        entry = 4 + 2 * number
        offset = _at(self._data, "<H", self._vtable + entry) if entry < self._size else 0
        return self._position + offset if offset else 0

    def _vector(self, field: int, width: int) -> tuple[int, int]:
        """Where a vector's items begin, and how many they are."""
        place = self._field(field)
        if not place:
            return 0, 0
        place += _at(self._data, "<I", place)
        length = _at(self._data, "<I", place)
        if place + 4 + width * length > len(self._data):  # a damaged length would otherwise ask for gigabytes
            raise ValueError
        return place + 4, length


def _at(data: bytes, form: str, position: int) -> int:
    if position < 0:
        raise ValueError
    return int(struct.unpack_from(form, data, position)[0])
