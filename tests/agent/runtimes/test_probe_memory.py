"""A model's trial: how much memory it took, and what comes of one that hangs or talks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from emflow_agent.errors import NotEnoughMemory
from emflow_agent.models.loading import LoadedFiles, load_folder
from emflow_agent.models.probe import ProbeCrashed, run_probe
from emflow_agent.runtimes import RuntimeOptions, litert

Open = Callable[..., LoadedFiles]

MB = 10**6


@pytest.fixture
def weighty(tmp_path: Path) -> Callable[[int], Path]:
    """A folder with an ONNX model that multiplies by weights of so many bytes."""

    def make(size: int) -> Path:
        weights = numpy_helper.from_array(np.ones((size // 4000, 1000), np.float32), "w")
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, size // 4000])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1000])],
            [weights],
        )
        folder = tmp_path / str(size)
        folder.mkdir()
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(model, folder / "net.onnx")
        return folder

    return make


def test_the_peak_of_a_trial_grows_with_what_the_model_needs(opened: Open, weighty: Callable[[int], Path]) -> None:
    small, large = opened(weighty(4 * MB), probe=True), opened(weighty(80 * MB), probe=True)
    assert small.peak_bytes is not None
    assert large.peak_bytes is not None
    # The weights are there at least twice: in the file's bytes, and as the runtime wants them.
    assert small.peak_bytes < 60 * MB
    assert 160 * MB <= large.peak_bytes - small.peak_bytes + 2 * 4 * MB < 500 * MB


def test_what_was_measured_decides_before_the_agent_itself_opens_the_model(
    weighty: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def no_room(peak: int) -> None:
        asked.append(peak)
        raise NotEnoughMemory("full")

    monkeypatch.setattr("emflow_agent.models.loading.open_and_warm_up", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(NotEnoughMemory, match="full"):
        load_folder(str(weighty(20 * MB)), RuntimeOptions(), probe=True, check_peak=no_room)
    assert asked[0] > 20 * MB


def test_a_model_that_hangs_does_not_hold_up_the_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(ProbeCrashed, match="did not finish its first run on LiteRT within 0 s"):
        run_probe(litert, {"a.tflite": b""}, RuntimeOptions(), timeout=0.2)


def test_what_a_driver_prints_is_no_answer(opened: Open, folder: Path, delegate: Path) -> None:
    said = {"say": '{"peak_bytes": 1}'}
    peak = opened(folder, probe=True, delegate=str(delegate), delegate_options=said).peak_bytes
    assert peak is not None
    assert peak > 1000
