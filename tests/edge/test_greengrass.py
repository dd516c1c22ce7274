"""The component as Greengrass runs it: configured over IPC, publishing over IPC, on the virtual core's IPC server."""

import json
import os
import queue
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emflow.local.core.ipc.operations import Operations
from emflow.local.core.ipc.server import IpcServer
from emflow.local.core.logs import DeviceLog
from support import Process

if TYPE_CHECKING:
    from conftest import Edge

pytestmark = pytest.mark.e2e
COMPONENT, TOKEN = "aws.sagemaker.edgeManagerClientCameraIntegration", "token"


class Core:
    """A core device as far as IPC needs one: one component's configuration, and what it published."""

    thing = "iMX8MPEVK-Core-001"

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        self.published: queue.Queue[tuple[str, dict[str, Any], int]] = queue.Queue()

    def configuration(self, component: str) -> Mapping[str, Any] | None:
        return self.given if component == COMPONENT else None

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        self.published.put((topic, json.loads(payload), qos))

    def reported(self, component: str, state: str) -> None:
        pass


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    core = Core()
    log = DeviceLog(tmp_path / "greengrass.log")
    server = IpcServer(tmp_path / "ipc.socket", {TOKEN: COMPONENT}.get, Operations(core), log)
    server.start()
    yield core
    server.stop()


@pytest.fixture
def component(python: Callable[..., Process], tmp_path: Path) -> Callable[..., Process]:
    def run(*arguments: str, token: str = TOKEN) -> Process:
        environment = {
            **os.environ,
            "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": str(tmp_path / "ipc.socket"),
            "SVCUID": token,
            "AWS_IOT_THING_NAME": Core.thing,
        }
        return python("emflow_edge", *arguments, env=environment)

    return run


def allow(topic: str) -> dict[str, Any]:
    policy = {"operations": ["aws.greengrass#PublishToIoTCore"], "resources": [topic]}
    return {"aws.greengrass.ipc.mqttproxy": {f"{COMPONENT}:mqttproxy:1": policy}}


def deployed(edge: "Edge", url: str, topic: str = "em/inference") -> dict[str, Any]:
    return {
        "accessControl": allow(topic),
        "modelName": "scenes",
        "agentSocket": str(edge.socket),
        "captureData": "False",
        "streams": [{"name": "front", "url": url, "every": "100ms"}],
        "modelIO": {"color": "rgb", "resize": "stretch", "labels": "labels.txt", "classOffset": "0", "topK": "3"},
        "publish": {"topic": "em/inference", "qos": "1"},
        "version": "1.0.3",
    }


def test_a_deployed_component_is_configured_and_publishes_over_ipc(
    edge: "Edge", core: Core, component: Callable[..., Process], scenes_model: Path
) -> None:
    edge.agent()
    core.given = deployed(edge, edge.camera()[1])
    (edge.folder / "labels.txt").write_bytes(scenes_model.with_name("scenes_labels.txt").read_bytes())
    process = component("-c", str(edge.model), "--assets", str(edge.folder))
    for sequence in range(3):
        topic, message, qos = core.published.get(timeout=20)
        assert (topic, qos) == ("em/inference", 1)
        assert (message["sequence"], message["stream"], message["model_name"]) == (sequence, "front", "scenes")
        assert (message["thing"], message["version"]) == ("iMX8MPEVK-Core-001", "1.0.3")
        assert message["label"] in scenes_model.with_name("scenes_labels.txt").read_text().splitlines()
    assert process.end() == 0
    assert "Traceback" not in process.text()


def test_a_deployment_made_by_hand_with_the_workshops_keys_works(
    edge: "Edge", core: Core, component: Callable[..., Process]
) -> None:
    edge.agent()
    core.given = {
        "accessControl": allow("em/inference"),
        "rtspStreamURL": edge.camera()[1].replace("rtsp://", "rtspt://"),
        "modelComponentName": f"{edge.model}/",
        "modelName": "scenes",
        "quantization": "True",
        "captureData": "False",
    }
    process = component("--agent-socket", str(edge.socket))
    topic, message, _ = core.published.get(timeout=20)
    assert topic == "em/inference"
    assert {"index", "confidence", "performance", "model_name"} <= message.keys()
    assert process.end() == 0


def test_a_topic_that_access_control_does_not_allow_is_said_and_nothing_breaks(
    edge: "Edge", core: Core, component: Callable[..., Process], scenes_model: Path
) -> None:
    edge.agent()
    core.given = deployed(edge, edge.camera()[1], topic="em/other")
    (edge.folder / "labels.txt").write_bytes(scenes_model.with_name("scenes_labels.txt").read_bytes())
    process = component("-c", str(edge.model), "--assets", str(edge.folder))
    assert "em/inference" in process.says("results cannot be published: ").partition("cannot be published: ")[2]
    assert process.end() == 0
    assert process.text().count("cannot be published") == 1
    assert core.published.empty()


def test_a_nucleus_that_does_not_let_it_in_ends_it_with_one_line(
    core: Core, component: Callable[..., Process], tmp_path: Path
) -> None:
    process = component(token="nobody's")
    assert process.popen.wait(20) == 1
    assert (
        f"emflow-edge: the Greengrass nucleus at {tmp_path}/ipc.socket cannot be talked to: Connection access denied"
        in process.text()
    )
    assert "Traceback" not in process.text()


def test_a_configuration_without_streams_ends_it_with_one_line(core: Core, component: Callable[..., Process]) -> None:
    core.given = {"modelName": "scenes", "modelComponentName": "model"}
    process = component()
    assert process.popen.wait(20) == 2
    assert process.text().strip() == "emflow-edge: streams: there is none; give at least one, or rtspStreamURL, or -s"
