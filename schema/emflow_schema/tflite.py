"""What a .tflite file says of its inputs and outputs: name, type, shape, quantisation, and what makes the outputs.

The file is a flatbuffer; the few fields needed are read here, so that neither needs the flatbuffers package. A field's
number is its place in the declaration in TensorFlow Lite's schema.fbs.
"""

from __future__ import annotations

import struct
from typing import Any

from emflow_schema.graph import CONFIDENCES, PASSES_ON, RAW, SUM, UNKNOWN, Graph, Operator
from emflow_schema.model_facts import ModelFacts, TensorFacts

_MODEL_CODES, _MODEL_SUBGRAPHS = 1, 2
_GRAPH_TENSORS, _GRAPH_INPUTS, _GRAPH_OUTPUTS, _GRAPH_OPERATORS = 0, 1, 2, 3
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_QUANTIZATION, _TENSOR_SIGNATURE = 0, 1, 3, 4, 7
_QUANT_SCALE, _QUANT_ZERO_POINT = 2, 3
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS = 0, 1, 2
_CODE_OLD_BUILTIN, _CODE_CUSTOM, _CODE_BUILTIN = 0, 1, 3

# BuiltinOperator, by the numbers in schema.fbs.
_ADD, _CONCATENATION, _CUSTOM = 0, 2, 32
_EFFECTS = {
    **dict.fromkeys((14, 25), CONFIDENCES),  # LOGISTIC, SOFTMAX
    # CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, LOG_SOFTMAX, TRANSPOSE_CONV, BATCH_MATMUL
    **dict.fromkeys((3, 4, 9, 50, 67, 126), RAW),
    # CONCATENATION, DEQUANTIZE, RESHAPE, GATHER, TRANSPOSE, SQUEEZE, STRIDED_SLICE, CAST, SLICE, EXPAND_DIMS, QUANTIZE
    **dict.fromkeys((_CONCATENATION, 6, 22, 36, 39, 43, 45, 53, 65, 70, 114), PASSES_ON),
    _ADD: SUM,
}
_ALL_INPUTS = (_ADD, _CONCATENATION)
# The detection operator of TensorFlow Lite, and what its outputs are, in their order.
_DETECTION, _DETECTION_ROLES = "TFLite_Detection_PostProcess", ("boxes", "classes", "scores", "count")

TYPES = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    6: "bool",
    7: "int16",
    9: "int8",
    10: "float64",
}
"""TensorType, as far as inputs and outputs use it, by NumPy's names; any other is shown as `type N`."""


def read(data: Any) -> ModelFacts:
    """Read a model's bytes (or a memory map of its file).

    Raises:
        ValueError: these bytes are no TFLite model, or a damaged one.
    """
    # A flatbuffer's file identifier stands behind the offset of its root table.
    if data[4:8] != b"TFL3":
        raise ValueError("no TFLite model")
    try:
        model = _Table(data, _at(data, "<I", 0))
        graph = model.tables(_MODEL_SUBGRAPHS)[0]
        tensors = graph.tables(_GRAPH_TENSORS)
        inputs, outputs = graph.numbers(_GRAPH_INPUTS, "i"), graph.numbers(_GRAPH_OUTPUTS, "i")
        operators = _operators(model.tables(_MODEL_CODES), graph.tables(_GRAPH_OPERATORS))
        made_by, roles = (
            Graph(operator for operator, _ in operators),
            dict(role for _, some in operators for role in some),
        )
        gives = tuple(
            _tensor(tensors[number], made_by.values_of(str(number)), roles.get(str(number), "")) for number in outputs
        )
        return ModelFacts(
            inputs=tuple(_tensor(tensors[number]) for number in inputs),
            outputs=gives,
            confidences=bool(gives) and gives[0].values == CONFIDENCES,
        )
    except (struct.error, IndexError, ValueError):
        raise ValueError("a damaged TFLite model") from None


def _operators(codes: list[_Table], operators: list[_Table]) -> list[tuple[Operator, list[tuple[str, str]]]]:
    """Each operator with its tensors' numbers as names, and the roles that it gives to its outputs."""
    found = []
    for operator in operators:
        code = codes[operator.number(_OPERATOR_CODE, "<I")]
        # Files from before 2020 have the operator in the older, one-byte field.
        kind = max(code.number(_CODE_BUILTIN, "<i"), code.number(_CODE_OLD_BUILTIN, "<b"))
        inputs = [str(number) for number in operator.numbers(_OPERATOR_INPUTS, "i")]
        outputs = [str(number) for number in operator.numbers(_OPERATOR_OUTPUTS, "i")]
        detects = kind == _CUSTOM and code.text(_CODE_CUSTOM) == _DETECTION
        counting = inputs if kind in _ALL_INPUTS else inputs[:1]
        roles = list(zip(outputs, _DETECTION_ROLES)) if detects else []
        found.append((Operator(_EFFECTS.get(kind, UNKNOWN), tuple(counting), tuple(outputs)), roles))
    return found


def _tensor(tensor: _Table, values: str = "", role: str = "") -> TensorFacts:
    shape, signature = tensor.numbers(_TENSOR_SHAPE, "i"), tensor.numbers(_TENSOR_SIGNATURE, "i")
    number = tensor.number(_TENSOR_TYPE, "<b")
    quantization = tensor.table(_TENSOR_QUANTIZATION)
    scale = quantization.numbers(_QUANT_SCALE, "f") if quantization else []
    zero = quantization.numbers(_QUANT_ZERO_POINT, "q") if quantization else []
    # One scale for the whole tensor; activations have no other kind.
    known = len(scale) == len(zero) == 1
    return TensorFacts(
        dtype=TYPES.get(number, f"type {number}"),
        scale=scale[0] if known else 0.0,
        zero_point=zero[0] if known else 0,
        name=tensor.text(_TENSOR_NAME),
        shape=tuple(signature or shape),
        values=values,
        role=role,
    )


class _Table:
    """A flatbuffer table: the signed offset at its start leads back to the vtable with the place of each field."""

    def __init__(self, data: Any, position: int) -> None:
        self._data, self._position = data, position
        self._vtable = position - _at(data, "<i", position)
        self._size = _at(data, "<H", self._vtable)

    def number(self, field: int, form: str) -> int:
        place = self._field(field)
        return _at(self._data, form, place) if place else 0

    def text(self, field: int) -> str:
        start, length = self._vector(field, 1)
        return bytes(self._data[start : start + length]).decode()

    def table(self, field: int) -> _Table | None:
        place = self._field(field)
        return _Table(self._data, place + _at(self._data, "<I", place)) if place else None

    def numbers(self, field: int, code: str) -> list[Any]:
        start, length = self._vector(field, struct.calcsize(f"<{code}"))
        return list(struct.unpack_from(f"<{length}{code}", self._data, start))

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


def _at(data: Any, form: str, position: int) -> int:
    if position < 0:
        raise ValueError
    return int(struct.unpack_from(form, data, position)[0])
