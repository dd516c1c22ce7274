"""Settings run only with the model that they were accepted with, whatever comes into its folder later."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge.conftest import written
from edge.telling_models import SIDE, model_of, save, write_model
from edge.test_model_identity import IMPATIENT, Device, results
from support import Process, until

pytestmark = pytest.mark.e2e

GONE = "has another one now than version 1.0.0 ran with"


@pytest.fixture
def device(tmp_path: Path, start: Callable[..., Process]) -> Iterator[Device]:
    device = Device(tmp_path, start)
    device.deploy(1, "1.0.0")
    yield device
    device.opened.close()


def component(device: Device, **options: Any) -> Process:
    """The component, which keeps the last configuration that worked."""
    arguments = ("--config", str(device.config), "--work", str(device.folder))
    return device._start(sys.executable, "-c", IMPATIENT, *arguments, **options)


def is_kept(device: Device) -> bool:
    return bool(list(device.folder.glob("last-working-*")))


def ends_without_a_result_of_another_model(process: Process) -> None:
    assert process.popen.wait(120) == 1
    assert GONE in process.text()
    assert "Traceback" not in process.text()
    assert {(one["version"], model_of(one)) for one in written(process)} <= {("1.0.0", 1)}


def test_the_configuration_before_does_not_come_back_with_the_new_model(device: Device) -> None:
    device.agent()
    process = component(device)
    assert {model_of(one) for one in results(process, "1.0.0")} == {1}
    write_model(device.model, 2)
    device.configure("2.0.0", modelIO={"task": "detection"})
    process.popen.send_signal(signal.SIGHUP)
    ends_without_a_result_of_another_model(process)
    assert "going back to the previous one (version 1.0.0)" in process.text()


def test_after_a_restart_of_the_agent_the_old_version_does_not_run_the_new_model(device: Device) -> None:
    agent = device.agent()
    process = component(device)
    results(process, "1.0.0")
    write_model(device.model, 2)
    device.configure("2.0.0", streams=[])
    process.popen.send_signal(signal.SIGHUP)
    process.says("is refused: streams")
    # As long as the old one is loaded, it goes on.
    results(process, "1.0.0", len(written(process)) + 3)
    agent.end(signal.SIGKILL)
    device.agent()
    ends_without_a_result_of_another_model(process)


@pytest.mark.parametrize("broken", [{"streams": []}, {"modelIO": {"task": "detection"}}])
def test_a_process_does_not_start_the_last_working_version_on_the_new_model(
    device: Device, broken: dict[str, Any]
) -> None:
    device.agent()
    process = component(device)
    results(process, "1.0.0")
    until(lambda: is_kept(device))
    assert process.end() == 0
    write_model(device.model, 2)
    device.configure("2.0.0", **broken)
    process = component(device)
    ends_without_a_result_of_another_model(process)
    assert not written(process)


def test_the_same_model_written_again_is_the_one_that_was_accepted(device: Device) -> None:
    agent = device.agent()
    process = component(device)
    results(process, "1.0.0")
    write_model(device.model, 1)
    device.configure("2.0.0", streams=[])
    process.popen.send_signal(signal.SIGHUP)
    process.says("is refused: streams")
    agent.end(signal.SIGKILL)
    device.agent()
    until(lambda: process.text().count("model net loaded") == 2)
    results(process, "1.0.0", len(written(process)) + 3)
    assert process.end() == 0
    process = component(device)
    assert {model_of(one) for one in results(process, "1.0.0")} == {1}
    assert process.end() == 0


def test_a_configuration_for_a_new_model_need_not_fit_the_old_one(device: Device) -> None:
    device.agent()
    process = component(device)
    results(process, "1.0.0")
    weights = numpy_helper.from_array(np.ones((3, 4), np.float32), "w")
    nodes = [
        helper.make_node("Cast", ["x"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["y"]),
    ]
    takes = helper.make_tensor_value_info("x", TensorProto.UINT8, [1, SIDE, SIDE, 3])
    save(device.model, nodes, takes, helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4]), [weights])
    labels = device.folder / "labels.txt"
    labels.write_text("one\ntwo\nthree\nfour\n")
    device.configure("2.0.0", modelIO={"labels": str(labels)})
    process.popen.send_signal(signal.SIGHUP)
    assert {one["label"] for one in results(process, "2.0.0")} <= {"one", "two", "three", "four"}
    assert process.end() == 0
