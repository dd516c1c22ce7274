"""What the device packages ask for on a board."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from board.conftest import IMX8MPLUS, board
from conftest import ROOT
from emflow.board.requirements import EXTRAS, MODULES, device_requirements, extras_of, name_of
from emflow.workflow.load import load
from emflow_schema.board import NUMPY_USERS

DEVICE = tomllib.loads((ROOT / "edge_component" / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_they_are_those_of_the_extras_with_the_boards_tflite_package() -> None:
    wanted = {canonicalize_name(Requirement(text).name) for extra in EXTRAS for text in DEVICE[extra]}
    litert = board(tflite="ai-edge-litert")
    assert {name_of(each) for each in device_requirements(litert)} == wanted
    swapped = wanted - {"ai-edge-litert"} | {"tflite-runtime"}
    assert {name_of(each) for each in device_requirements(IMX8MPLUS)} == swapped


def test_tflite_runtime_of_the_index_gets_a_numpy_that_it_can_use() -> None:
    assert "numpy<2,>=1.24" in device_requirements(IMX8MPLUS)
    assert "numpy>=1.24" in device_requirements(board(tflite="ai-edge-litert"))
    of_image = board(provides={"tflite-runtime": "2.16.2", "numpy": "2.1.0"})
    assert "numpy>=1.24" in device_requirements(of_image)


def test_a_marker_counts_for_the_board_and_not_for_this_machine() -> None:
    assert "onnxruntime>=1.18" in device_requirements(board(python="3.9"), ("onnx",))
    assert "onnxruntime>=1.21" in device_requirements(board(python="3.10"), ("onnx",))


@pytest.mark.parametrize(
    ("artifact", "runtime", "capture", "more"),
    [
        ("m.tflite", "auto", {}, ()),
        ("m.onnx", "auto", {}, ("onnx",)),
        ("m.ONNX", "litert", {}, ("onnx",)),
        ("m.tgz", "onnx", {}, ("onnx",)),
        ("m.tflite", "auto", {"enabled": True}, ("upload",)),
        ("m.tflite", "auto", {"enabled": True, "destination": "disk"}, ()),
        ("m.onnx", "auto", {"enabled": True}, ("onnx", "upload")),
    ],
)
def test_the_workflow_decides_about_onnx_runtime_and_boto3(
    artifact: str, runtime: str, capture: dict[str, Any], more: tuple[str, ...]
) -> None:
    demo = load(ROOT / "workflows" / "demo.yaml")
    agent = replace(demo.edge.agent, open=replace(demo.edge.agent.open, runtime=runtime))  # type: ignore[arg-type]
    workflow = replace(
        demo,
        cloud=replace(demo.cloud, model=replace(demo.cloud.model, artifact=artifact)),
        edge=replace(demo.edge, agent=agent, capture=replace(demo.edge.capture, **capture)),
    )
    assert extras_of(workflow) == (*EXTRAS, *more)


def test_every_package_that_the_device_asks_for_has_a_module_to_be_proved() -> None:
    needed = {name_of(each) for tflite in ("tflite-runtime", "ai-edge-litert")
              for each in device_requirements(board(tflite=tflite), (*EXTRAS, "onnx", "upload"))}  # fmt: skip
    assert needed == set(MODULES)
    assert {name: MODULES[name].partition(".")[0] for name in NUMPY_USERS} == NUMPY_USERS
