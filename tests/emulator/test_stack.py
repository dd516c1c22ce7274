"""What `emflow up` starts and makes before a workflow is applied, as the workflow's device finds it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import av
import boto3
import pytest

from conftest import ROOT
from emflow.problems import Problem
from emflow.workflow import load
from emflow.workflow.model import OpenAgent, Role, Secret, Stream, Workflow
from emflow_emulator.child import Child
from emflow_emulator.stack import FROM_WORKFLOW, SCENES, Camera, Cloud, Core, Stack, on_this_machine
from emflow_schema.units import Interval
from support import PATIENCE

pytestmark = pytest.mark.e2e

ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:camera-AbCdEf"
STREAMS = (
    Stream(name="open", url="rtsp://10.0.0.7/1"),
    Stream(name="locked", url="rtsp://10.0.0.8/1", credentials=Secret(secret=ARN)),
)


@pytest.fixture
def workflow() -> Workflow:
    return load(ROOT / "workflows" / "demo.yaml")


def client(service: str, cloud: Cloud) -> Any:
    key = cloud.access.key
    # Its type depends on the name of the service, which is not known here.
    session: Any = boto3.Session(key.id, key.secret, region_name="us-east-1")
    return session.client(service, endpoint_url=cloud.endpoint_url)


def with_streams(workflow: Workflow, *streams: Stream) -> Workflow:
    return dataclasses.replace(workflow, edge=dataclasses.replace(workflow.edge, streams=streams))


def test_what_only_the_board_has_is_left_out_on_this_machine(workflow: Workflow) -> None:
    stream = Stream(
        name="a", url="rtsp://10.0.0.7/1", every=Interval("5 frames"), pipeline="imx8mp", backend="gstreamer"
    )
    secure = Stream(name="b", url="rtsps://10.0.0.8/1", ca="/etc/emflow/cameras.pem")
    workflow = with_streams(workflow, stream, secure)
    agent = dataclasses.replace(workflow.edge.agent, open=OpenAgent(delegate="vx", trust_keys=("/etc/emflow/key.pem",)))
    workflow = dataclasses.replace(workflow, edge=dataclasses.replace(workflow.edge, agent=agent))
    camera, core = Camera("rtsp://127.0.0.1:8554/scenes", 2.0, ()), Core("core-1", Path("/tmp/core"))
    here = on_this_machine(workflow, camera, core).edge
    assert here.streams == (
        Stream(name="a", url=camera.url, every=Interval("5 frames")),
        Stream(name="b", url=camera.url),
    )
    assert (here.agent.socket, here.agent.open) == ("/tmp/core/agent.sock", OpenAgent())


def width(url: str) -> int:
    with av.open(url, options={"rtsp_transport": "tcp"}, timeout=PATIENCE) as container:
        frame = next(container.decode(video=0))
        assert isinstance(frame, av.VideoFrame)
        return frame.width


def test_a_camera_with_credentials_demands_what_its_secret_says(workflow: Workflow) -> None:
    workflow = with_streams(workflow, *STREAMS)
    with Stack(camera=SCENES) as stack:
        cloud, camera = stack.start(workflow)
        core = stack.start_core("core-1", cloud, workflow, camera)
        here = on_this_machine(workflow, camera, core)
        open_, locked = here.edge.streams
        manager = client("secretsmanager", cloud)
        assert locked.credentials is not None
        login = json.loads(manager.get_secret_value(SecretId=locked.credentials.arn)["SecretString"])

        assert open_.credentials is None
        assert width(open_.url) == 640
        with pytest.raises(av.HTTPUnauthorizedError):
            width(locked.url)
        assert width(locked.url.replace("//", f"//{login['username']}:{login['password']}@")) == 640
        for file in stack.folder.glob("**/*"):
            if file.is_file() and login["password"] in file.read_text(errors="replace"):
                assert file.stat().st_mode & 0o077 == 0, file
        assert login["password"] not in repr(camera)


def test_files_of_the_current_folder_are_not_executed(
    workflow: Workflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed = tmp_path / "executed"
    for module in ("moto", "json", "secrets", "numpy", "emflow_emulator", "sitecustomize"):
        (tmp_path / f"{module}.py").write_text(f"open({str(executed)!r}, 'a').write({module!r})\n")
    monkeypatch.chdir(tmp_path)
    with Stack(camera=SCENES) as stack:
        cloud, camera = stack.start(workflow)
        stack.start_core("core-1", cloud, workflow, camera)

    assert not executed.exists(), executed.read_text()


def test_a_workflow_without_credentials_has_one_camera_for_all(workflow: Workflow) -> None:
    workflow = with_streams(workflow, STREAMS[0])
    with Stack(camera=SCENES) as stack:
        _, camera = stack.start(workflow)
        assert camera is not None
        assert (camera.locked_url, camera.login) == ("", {})


def test_a_secret_of_a_real_camera_is_not_to_be_had_here(workflow: Workflow) -> None:
    workflow = with_streams(workflow, *STREAMS)
    with Stack(camera=FROM_WORKFLOW) as stack:
        cloud, camera = stack.start(workflow)
        with pytest.raises(Problem, match="does not exist in the embedded AWS") as caught:
            stack.start_core("core-1", cloud, workflow, camera)
    assert "--camera workflow" in caught.value.mend


@pytest.fixture
def arguments(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the core device was started with."""
    seen: list[str] = []

    class Noted(Child):
        def __init__(self, name: str, module: str, args: Any, log: Path) -> None:
            seen.extend(args if name == "core" else ())
            super().__init__(name, module, args, log)

    monkeypatch.setattr("emflow_emulator.stack.Child", Noted)
    return seen


def test_a_role_that_the_device_already_has_is_there(workflow: Workflow, arguments: list[str]) -> None:
    role = Role(from_alias="BoardAlias")
    workflow = dataclasses.replace(workflow, cloud=dataclasses.replace(workflow.cloud, role=role))
    with Stack(camera=FROM_WORKFLOW) as stack:
        cloud, camera = stack.start(workflow)
        stack.start_core("core-1", cloud, workflow, camera)
        iot = client("iot", cloud)
        alias = iot.describe_role_alias(roleAlias="BoardAlias")["roleAliasDescription"]

    assert alias["roleArn"].endswith(":role/GreengrassV2TokenExchangeRole")
    assert arguments[arguments.index("--role-alias") + 1] == "BoardAlias"
