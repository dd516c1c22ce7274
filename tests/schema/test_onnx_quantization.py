"""Scale and zero point of an ONNX graph's inputs and outputs, in every form in which exporters write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from emflow_schema.model_facts import TensorFacts
from emflow_schema.onnx import read

INT8, UINT8 = TensorProto.INT8, TensorProto.UINT8


def constant(name: str, value: Any, dtype: type = np.float32) -> Any:
    return numpy_helper.from_array(np.array(value, dtype), name)


def facts(nodes: list[Any], constants: list[Any], kind: int = INT8) -> tuple[TensorFacts, TensorFacts]:
    """The input x and the output y of a graph."""
    takes = helper.make_tensor_value_info("x", kind, [1, 4])
    gives = helper.make_tensor_value_info("y", kind, [1, 4])
    graph = helper.make_graph(nodes, "net", [takes], [gives], constants)
    found = read(helper.make_model(graph).SerializeToString())
    return found.inputs[0], found.outputs[0]


def quantization(tensor: TensorFacts) -> tuple[float, int]:
    return tensor.scale, tensor.zero_point


X = [constant("xs", 0.5), constant("xz", -5, np.int8)]
Y = [constant("ys", 0.25), constant("yz", 7, np.int8)]
FIRST = helper.make_node("DequantizeLinear", ["x", "xs", "xz"], ["real"])
LAST = helper.make_node("QuantizeLinear", ["real", "ys", "yz"], ["y"])
KNOWN = ((0.5, -5), (0.25, 7))


def test_what_dequantises_the_input_and_quantises_the_output_tells_it() -> None:
    assert tuple(map(quantization, facts([FIRST, LAST], [*X, *Y]))) == KNOWN


def test_operators_that_only_move_elements_may_stand_between() -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["turned"]),
        helper.make_node("DequantizeLinear", ["turned", "xs", "xz"], ["real"]),
        helper.make_node("QuantizeLinear", ["real", "ys", "yz"], ["whole"]),
        helper.make_node("Flatten", ["whole"], ["flat"]),
        helper.make_node("Identity", ["flat"], ["y"]),
    ]
    assert tuple(map(quantization, facts(nodes, [*X, *Y]))) == KNOWN


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("QLinearMatMul", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"]),
        ("QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"]),
        ("QGemm", ["x", "xs", "xz", "w", "ws", "wz", "", "ys", "yz"]),
        ("QLinearAdd", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"]),
        ("QLinearSigmoid", ["x", "xs", "xz", "ys", "yz"]),
    ],
)
def test_operators_on_quantised_values_tell_both(kind: str, inputs: list[str]) -> None:
    assert tuple(map(quantization, facts([helper.make_node(kind, inputs, ["y"])], [*X, *Y]))) == KNOWN


def test_numbers_may_be_in_lists_of_their_type() -> None:
    constants = [
        helper.make_tensor("xs", TensorProto.FLOAT, [], [0.5]),
        helper.make_tensor("xz", INT8, [], [-5]),
        helper.make_tensor("ys", TensorProto.FLOAT, [1], [0.25]),
        helper.make_tensor("yz", INT8, [1], [7]),
    ]
    assert tuple(map(quantization, facts([FIRST, LAST], constants))) == KNOWN


def test_without_a_zero_point_it_is_zero() -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "xs"], ["real"]),
        helper.make_node("QuantizeLinear", ["real", "ys"], ["y"]),
    ]
    assert tuple(map(quantization, facts(nodes, [*X, *Y], UINT8))) == ((0.5, 0), (0.25, 0))


@pytest.mark.parametrize(
    "constants",
    [
        [*X[:1], *Y[:1]],
        [X[1], constant("xs", [0.5, 0.25]), Y[1], constant("ys", [0.5, 0.25])],
        [X[1], constant("xs", float("nan")), Y[1], constant("ys", -1.0)],
        [X[0], constant("xz", 300, np.int32), Y[0], constant("yz", -129, np.int32)],
    ],
    ids=["a zero point that is no constant", "one for each channel", "no scale", "out of the type's range"],
)
def test_what_is_not_one_constant_for_the_whole_tensor_is_not_known(constants: list[Any]) -> None:
    assert tuple(map(quantization, facts([FIRST, LAST], constants))) == ((0.0, 0), (0.0, 0))


def test_a_circle_of_operators_ends() -> None:
    nodes = [helper.make_node("Identity", ["y"], ["z"]), helper.make_node("Identity", ["z"], ["y"])]
    assert tuple(map(quantization, facts(nodes, []))) == ((0.0, 0), (0.0, 0))
