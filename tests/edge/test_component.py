"""The component as a process, with a real camera and the real agent."""

import json
import os
import shutil
import signal
import socket
import statistics
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from emflow_emulator.camera import scenes
from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from support import PATIENCE, Process, signal_another_thread, until

if TYPE_CHECKING:
    from edge.conftest import Edge

pytestmark = pytest.mark.e2e
DWELL = 2.0
SCENES = ("--dwell", str(DWELL))
NEW_SCENE = 0.25  # seconds after a change in which the scene before may still be seen
NEXT_SCENE = 0.5  # before one in which a camera on a busy machine may draw the next scene already
GREENGRASS_WAITS = 15  # seconds for a component to end, before it is killed


def labels(scenes_model: Path) -> tuple[str, ...]:
    return ("--labels", str(scenes_model.with_name("scenes_labels.txt")))


def right_and_wrong(messages: list[dict[str, Any]]) -> tuple[int, int]:
    """How many results name the scene that the camera's schedule has for their frame's time, and how many do not."""
    times = [(message["label"], datetime.fromisoformat(message["frame_time"]).timestamp()) for message in messages]
    judged = [
        label == scenes.shown_at(taken, DWELL)
        for label, taken in times
        if NEW_SCENE < taken % DWELL < DWELL - NEXT_SCENE
    ]
    return judged.count(True), judged.count(False)


def loaded(edge: "Edge") -> list[str]:
    with grpc.insecure_channel(f"unix://{edge.socket}") as channel:
        return [model.name for model in AgentStub(channel).ListModels(m.ListModelsRequest(), timeout=PATIENCE).models]


def load(edge: "Edge", name: str) -> None:
    with grpc.insecure_channel(f"unix://{edge.socket}") as channel:
        AgentStub(channel).LoadModel(m.LoadModelRequest(url=str(edge.model), name=name), timeout=PATIENCE)


def ends_cleanly(process: Process, number: int = signal.SIGTERM) -> None:
    begin = time.monotonic()
    assert process.end(number) == 0
    assert time.monotonic() - begin < GREENGRASS_WAITS
    assert "Traceback" not in process.text()


def test_results_name_what_the_camera_showed_when_the_frame_was_taken(edge: "Edge", scenes_model: Path) -> None:
    edge.agent()
    _, url = edge.camera(*SCENES)
    component = edge.run(url, "--every", "100ms", "--results", "30", "--thing", "board", *labels(scenes_model))
    messages = edge.results(component, 30)
    assert component.ended() == 0
    right, wrong = right_and_wrong(messages)
    assert right > 10
    assert wrong == 0
    assert [message["sequence"] for message in messages] == list(range(30))
    assert {message["thing"] for message in messages} == {"board"}
    assert {message["model_name"] for message in messages} == {"scenes"}
    assert statistics.median(message["frame_age_ms"] for message in messages) < 1000
    assert "30 published" in component.text()


def test_one_result_a_second_by_default(edge: "Edge") -> None:
    edge.agent()
    _, url = edge.camera()
    times = [
        datetime.fromisoformat(message["frame_time"]).timestamp()
        for message in edge.results(edge.run(url, "--results", "4"), 4)
    ]
    # From the second on these are the camera's key frames, of which it has one a second, or fewer on a busy machine.
    assert 2 < times[3] - times[0] < 10


# As the ONNX net was trained: ImageNet's mean and deviation, in pixels; it has no background class.
IMAGENET = {"modelIO": {"mean": "123.675, 116.28, 103.53", "std": "58.395, 57.12, 57.375"}}


@pytest.mark.parametrize(("image", "index"), [("orange.png", "950"), ("cat_720p.jpg", "285")])
@pytest.mark.parametrize(
    ("net", "config", "flags"),
    [
        ("mobilenet_v2_1.0_224_quant.tflite", {}, ("--class-offset", "1")),
        ("mobilenet_v2_quant.onnx", IMAGENET, ()),
    ],
)
def test_a_camera_that_shows_a_photograph_has_it_named(
    edge: "Edge", shared_data: Path, image: str, index: str, net: str, config: dict[str, Any], flags: tuple[str, ...]
) -> None:
    shutil.rmtree(edge.model)
    edge.model.mkdir()
    shutil.copy(shared_data / "models" / net, edge.model)
    edge.agent()
    _, url = edge.camera("--image", str(shared_data / "images" / image))
    settings = edge.folder / "config.json"
    settings.write_text(json.dumps(config))
    component = edge.run(url, "--every", "0", "--results", "5", "--config", str(settings), *flags)
    assert {message["index"] for message in edge.results(component, 5)} == {index}


def test_a_camera_and_an_agent_that_come_late_are_waited_for(
    edge: "Edge", absent_port: int, scenes_model: Path
) -> None:
    url = f"rtspt://admin:secret@127.0.0.1:{absent_port}/front"
    component = edge.run(url, "--every", "100ms", "--results", "15", *labels(scenes_model))
    component.says("cannot be reached (Connection refused); retrying until it can be reached")
    component.says(f"agent at {edge.socket} cannot be reached; waiting for it")
    edge.camera(*SCENES, port=absent_port)
    component.says("640 x 480 pixels")
    edge.agent()
    right, wrong = right_and_wrong(edge.results(component, 15))
    assert (right > 3, wrong) == (True, 0)
    assert component.ended() == 0
    said = component.text()
    assert "secret" not in said
    # One line a change, however many tries it took.
    assert (said.count("cannot be reached ("), said.count("waiting for it")) == (1, 1)


def test_a_camera_that_is_killed_and_comes_back_gives_results_again(edge: "Edge", scenes_model: Path) -> None:
    edge.agent()
    camera, url = edge.camera(*SCENES)
    component = edge.run(url, "--every", "100ms", *labels(scenes_model))
    edge.results(component, 3)
    camera.stop()
    component.says("closed the connection")
    before = len(edge.results(component, 3))
    edge.camera(*SCENES, port=int(url.split(":")[2].split("/")[0]))
    after = edge.results(component, before + 15)[before + 1 :]
    right, wrong = right_and_wrong(after)
    assert (right > 3, wrong) == (True, 0)
    ends_cleanly(component)
    assert "1 reconnects" in component.text()


def test_a_camera_that_freezes_and_goes_on_gives_fresh_results_again(edge: "Edge", scenes_model: Path) -> None:
    edge.agent()
    camera, url = edge.camera(*SCENES)
    component = edge.run(url, "--every", "100ms", *labels(scenes_model))
    edge.results(component, 3)
    os.kill(camera.pid, signal.SIGSTOP)
    try:
        component.says("sent nothing for 3 s")
    finally:
        os.kill(camera.pid, signal.SIGCONT)
    before = len(edge.results(component, 3))
    right, wrong = right_and_wrong(edge.results(component, before + 15)[before:])
    assert (right > 3, wrong) == (True, 0)
    ends_cleanly(component)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_agent_that_is_started_again_gets_the_model_again(edge: "Edge", number: int) -> None:
    agent = edge.agent()
    _, url = edge.camera()
    component = edge.run(url, "--every", "50ms")
    before = len(edge.results(component, 3))
    for again in (1, 2):
        agent.end(number)
        until(lambda again=again: component.text().count("it is loaded again when possible") == again)
        agent = edge.agent()
        before = len(edge.results(component, before + 5))
        assert loaded(edge) == ["scenes"]
    ends_cleanly(component)
    assert component.text().count("loaded; input") == 3


def test_a_model_that_somebody_unloaded_is_loaded_again(edge: "Edge") -> None:
    edge.agent()
    _, url = edge.camera()
    component = edge.run(url, "--every", "50ms")
    edge.results(component, 3)
    with grpc.insecure_channel(f"unix://{edge.socket}") as channel:
        AgentStub(channel).UnLoadModel(m.UnLoadModelRequest(name="scenes"), timeout=PATIENCE)
    component.says("has lost the model")
    edge.results(component, len(edge.results(component, 3)) + 5)
    ends_cleanly(component)


def test_what_it_loaded_it_unloads_and_what_was_loaded_it_leaves(edge: "Edge") -> None:
    edge.agent()
    _, url = edge.camera()
    assert edge.run(url, "--results", "1").ended() == 0
    assert loaded(edge) == []
    load(edge, "scenes")
    component = edge.run(url, "--results", "1")
    component.says("was already loaded")
    assert component.ended() == 0
    assert loaded(edge) == ["scenes"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_while_it_works(edge: "Edge", number: int) -> None:
    edge.agent()
    _, url = edge.camera()
    component = edge.run(url, "--every", "0")
    edge.results(component, 3)
    ends_cleanly(component, number)
    assert "ended: " in component.text()
    assert loaded(edge) == []


def test_it_ends_cleanly_whichever_of_its_threads_the_kernel_gives_the_signal_to(edge: "Edge") -> None:
    edge.agent()
    component = edge.run(edge.camera()[1])
    edge.results(component, 1)
    signal_another_thread(component.popen.pid, signal.SIGTERM)
    assert component.ended(GREENGRASS_WAITS) == 0


def test_it_ends_cleanly_while_it_waits_for_everything(edge: "Edge", absent_port: int) -> None:
    component = edge.run(f"rtsp://127.0.0.1:{absent_port}/front", "--publish", f"mqtt://127.0.0.1:{absent_port}")
    component.says("retrying until it can be reached")
    ends_cleanly(component)


def test_it_ends_cleanly_while_a_camera_hangs(edge: "Edge") -> None:
    edge.agent()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        component = edge.run(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/front")
        component.says("agent: model scenes loaded")
        ends_cleanly(component)
    assert loaded(edge) == []


def test_several_streams_share_the_model_and_count_for_themselves(
    edge: "Edge", scenes_model: Path, python: Callable[..., Process]
) -> None:
    edge.agent()
    streams = [
        {"name": name, "url": edge.camera(*SCENES, "--name", name)[1], "every": "100ms"} for name in ("front", "back")
    ]
    config = {"modelName": "scenes", "modelComponentName": f"{edge.model}/", "agentSocket": str(edge.socket)}
    file = edge.folder / "config.json"
    io = {"labels": "scenes_labels.txt", "topK": "2"}
    file.write_text(json.dumps({**config, "streams": streams, "modelIO": io, "version": "1.2.3"}))
    arguments = ("--config", str(file), "--assets", str(scenes_model.parent), "--results", "30")
    component = python("emflow_edge", *arguments)
    messages = edge.results(component, 30)
    assert right_and_wrong(messages)[1] == 0
    for name in ("front", "back"):
        mine = [message for message in messages if message["stream"] == name]
        assert len(mine) > 5
        assert [message["sequence"] for message in mine] == list(range(len(mine)))
        assert {(message["version"], len(message["top"])) for message in mine} == {("1.2.3", 2)}


def test_quantization_is_only_compared(edge: "Edge") -> None:
    edge.agent()
    _, url = edge.camera()
    component = edge.run(url, "-q", "False", "--results", "1")
    assert component.ended() == 0
    assert component.text().count("quantization is set to False, but the model takes uint8; using the model") == 1
