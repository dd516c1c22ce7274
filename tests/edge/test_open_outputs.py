"""A detector with as many rows as things, from its file to results: none in a dark picture, some in a bright one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge.conftest import Edge
from edge.films import film


def detector(path: Path) -> None:
    """Boxes, labels and scores of what non-maximum suppression leaves, as torchvision exports it."""
    boxes = np.array([[[0.1, 0.1, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9], [0.1, 0.1, 0.41, 0.4]]], np.float32)
    constants: dict[str, Any] = {
        "boxes_of_anchors": boxes,
        "confidences": np.array([[[0.9, 0.8, 0.7]]], np.float32),
        "most": np.array([10], np.int64),
        "iou": np.array([0.5], np.float32),
        "least": np.array([0.3], np.float32),
        "last": np.array(2, np.int64),
        "class_column": np.array(1, np.int64),
        "first_two": np.array([0, 1], np.int64),
        "first": np.array([0], np.int64),
    }

    def node(kind: str, *inputs: str, output: str, **attributes: Any) -> Any:
        return helper.make_node(kind, list(inputs), [output], **attributes)

    nodes = [
        node("GlobalMaxPool", "images", output="pooled"),
        node("ReduceMax", "pooled", output="light", axes=[1], keepdims=1),
        node("Squeeze", "light", "last_axis", output="brightness"),
        node("Mul", "confidences", "brightness", output="lit"),
        node("NonMaxSuppression", "boxes_of_anchors", "lit", "most", "iou", "least", output="selected"),
        node("Gather", "selected", "last", output="rows", axis=1),
        node("Squeeze", "boxes_of_anchors", "first", output="flat_boxes"),
        node("Gather", "flat_boxes", "rows", output="boxes"),
        node("Gather", "selected", "class_column", output="labels", axis=1),
        node("Squeeze", "lit", "first_two", output="flat_scores"),
        node("Gather", "flat_scores", "rows", output="scores"),
    ]
    constants["last_axis"] = np.array([3], np.int64)
    graph = helper.make_graph(
        nodes,
        "torchvision",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["n", 4]),
            helper.make_tensor_value_info("labels", TensorProto.INT64, ["n"]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n"]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_each_frame_has_as_many_things_as_there_are_in_it(edge: Edge) -> None:
    (edge.model / "scenes.tflite").unlink()
    detector(edge.model / "found.onnx")
    config = edge.folder / "config.json"
    told = {"modelIO": {"task": "detection", "mean": "0", "std": "255"}, "capture": {"enabled": "true", "every": "0s"}}
    config.write_text(json.dumps(told))
    disk = ("--set", "CaptureDataDestination=Disk", "--set", f"CaptureDataDiskPath={edge.folder}/captures")
    edge.agent(*disk)
    url = film(edge.folder / "film.avi", *[0] * 40, *[255] * 40)
    component = edge.run(url, "--config", str(config), "--results", "6")
    assert component.ended() == 0
    found = [len(one["detections"]) for one in edge.results(component, 6)]
    assert set(found) == {0, 2}
    log = component.text()
    assert "float32 [?, 4]" in log
    assert ("Predict failed" in log, "refuses captures" in log) == (False, False)
