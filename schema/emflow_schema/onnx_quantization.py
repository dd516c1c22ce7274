"""Scale and zero point of an ONNX graph's quantised inputs and outputs: ONNX keeps them beside the operators.

Operators and the places of their inputs: https://onnx.ai/onnx/operators/ (QuantizeLinear, DequantizeLinear,
QLinearConv, QLinearMatMul), https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md (the others).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Union

NOT_KNOWN = (0.0, 0)
"""Scale and zero point of a tensor whose graph does not tell them."""

# At which input operators have the scale of what they take at input 0, and of what they give. The zero point follows.
_OF_INPUT = dict.fromkeys(
    (
        *("DequantizeLinear", "QLinearConv", "QLinearMatMul", "QGemm", "QLinearAdd", "QLinearMul", "QLinearSigmoid"),
        *("QLinearSoftmax", "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearLeakyRelu"),
    ),
    1,
)
_OF_OUTPUT = {
    "QuantizeLinear": 1,
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearMul"), 6),
    "QGemm": 7,
    **dict.fromkeys(("QLinearSigmoid", "QLinearSoftmax", "QLinearLeakyRelu"), 3),
    **dict.fromkeys(("QLinearAveragePool", "QLinearGlobalAveragePool"), 3),
    "QLinearConcat": 0,
}
# Operators that give the elements that they take.
_MOVES = ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Identity")

Constants = Mapping[str, Union[int, float]]


class Node(NamedTuple):
    """An operator of the graph."""

    kind: str
    inputs: Sequence[str]
    outputs: Sequence[str]


class Quantization:
    """The quantisation of a graph.

    Args:
        constants: initializers of a single element, by name.
    """

    def __init__(self, nodes: Sequence[Node], constants: Constants) -> None:
        self._constants = constants
        self._makers = {name: node for node in nodes for name in node.outputs}
        self._takers = {node.inputs[0]: node for node in reversed(nodes) if node.inputs}

    def of_input(self, name: str) -> tuple[float, int]:
        """Scale and zero point of an input of the graph; `NOT_KNOWN` without."""
        for _ in range(len(self._takers)):
            node = self._takers.get(name)
            if node is None:
                break
            if node.kind in _OF_INPUT:
                return self._at(node, _OF_INPUT[node.kind])
            if node.kind not in _MOVES or not node.outputs:
                break
            name = node.outputs[0]
        return NOT_KNOWN

    def of_output(self, name: str) -> tuple[float, int]:
        """Scale and zero point of an output of the graph; `NOT_KNOWN` without."""
        for _ in range(len(self._makers)):
            node = self._makers.get(name)
            if node is None:
                break
            if node.kind in _OF_OUTPUT:
                return self._at(node, _OF_OUTPUT[node.kind])
            if node.kind not in _MOVES or not node.inputs:
                break
            name = node.inputs[0]
        return NOT_KNOWN

    def _at(self, node: Node, place: int) -> tuple[float, int]:
        names = [*node.inputs[place : place + 2], "", ""][:2]
        scale, zero_point = self._constants.get(names[0], 0.0), self._constants.get(names[1])
        if zero_point is None and names[1]:  # it has one, which is no constant
            return NOT_KNOWN
        return float(scale), int(zero_point or 0)
