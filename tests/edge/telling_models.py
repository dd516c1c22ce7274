"""Models whose answers tell which of them was asked about which picture, and a film whose frames all differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge.films import film

SIDE = 8
FACTORS = tuple(round(0.05 + 0.045 * number, 3) for number in range(20))
"""By how much each model multiplies the brightness of a picture: by this, a result tells which model it is of."""

BRIGHTNESS = range(70, 250, 5)
"""Of the frames of the film, 0 to 255."""


def write_model(folder: Path, number: int) -> None:
    """Put model `number` into a folder, in the place of the one that is there: a rename, as a deployment does it.

    Its classes are half the brightness of the picture (0 to 1), the brightness times its factor, and 0.
    """
    folder.mkdir(exist_ok=True)
    weights = numpy_helper.from_array(np.array([[0.5, FACTORS[number], 0.0]], np.float32), "w")
    scale = numpy_helper.from_array(np.array(1 / 255, np.float32), "scale")
    nodes = [
        helper.make_node("Cast", ["x"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "axis"], ["row"]),
        helper.make_node("Mul", ["row", "scale"], ["brightness"]),
        helper.make_node("MatMul", ["brightness", "w"], ["y"]),
    ]
    axis = numpy_helper.from_array(np.array([1], np.int64), "axis")
    takes = helper.make_tensor_value_info("x", TensorProto.UINT8, [1, SIDE, SIDE, 3])
    gives = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])
    save(folder, nodes, takes, gives, [weights, scale, axis])


def save(folder: Path, nodes: list[Any], takes: Any, gives: Any, weights: list[Any]) -> None:
    """Write a graph as the one model of a folder."""
    graph = helper.make_graph(nodes, "net", [takes], [gives], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, folder / "new")
    (folder / "new").rename(folder / "net.onnx")


def model_of(result: dict[str, Any]) -> int:
    """Which model made a published result, whatever the result says. Confidences have four decimals."""
    values = {one["index"]: one["confidence"] for one in result["top"]}
    assert set(values) == {0, 1, 2}, result
    assert values[0] > 0.1, result
    factor = values[1] / (2 * values[0])
    number = min(range(len(FACTORS)), key=lambda each: abs(FACTORS[each] - factor))
    assert abs(FACTORS[number] - factor) < 0.002, result
    return number


def varied_film(folder: Path) -> str:
    """The URL of a film whose frames are of many brightnesses, so that an answer tells which frame it is about."""
    return film(folder / "film.avi", *BRIGHTNESS, side=16)
