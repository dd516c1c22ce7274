"""The agent as a program, with capture settings by the original component's names."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from agent.capture.conftest import FLEET, request
from agent.capture.s3_proxy import S3Proxy, StoredCaptures
from agent.capture.test_offline import files_in, ids_on
from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from support import Process, until

pytestmark = pytest.mark.e2e


@pytest.fixture
def run(python: Callable[..., Process], tmp_path: Path, scenes_model: Path) -> Callable[..., tuple[Process, list[str]]]:
    """Start an agent with these settings and hand it four captures; their ids."""
    (tmp_path / "model").mkdir()
    shutil.copy(scenes_model, tmp_path / "model")

    def start(**settings: str) -> tuple[Process, list[str]]:
        config = tmp_path / "agent.json"
        config.write_text(json.dumps({"DeviceFleetName": FLEET, "CaptureDataPushPeriodSeconds": "60"} | settings))
        socket = tmp_path / "a.sock"
        process = python("emflow_agent", "--socket", str(socket), "--config", str(config), "--clean-stale-socket")
        process.says("Server listening on")
        with grpc.insecure_channel(f"unix:{socket}") as channel:
            stub = AgentStub(channel)
            stub.LoadModel(m.LoadModelRequest(url=str(tmp_path / "model"), name="scenes"))
            sent = [request() for _ in range(4)]
            for each in sent:
                stub.CaptureData(each)
        return process, [each.capture_id for each in sent]

    return start


def test_asked_to_end_it_uploads_what_waits(
    run: Callable[..., tuple[Process, list[str]]], network: S3Proxy, bucket: StoredCaptures
) -> None:
    process, ids = run(BucketName=bucket.name)
    assert not bucket.keys()
    assert process.end() == 0
    assert bucket.events() == ids
    assert "captured data: 4 stored" in process.text()


def test_asked_to_end_without_a_network_it_keeps_what_waits_for_the_next_run(
    run: Callable[..., tuple[Process, list[str]]], network: S3Proxy, bucket: StoredCaptures, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    network.down()
    settings = {"BucketName": bucket.name, "CaptureDataDiskPath": str(disk)}
    process, first = run(**settings)
    assert process.end() == 0
    assert ids_on(disk) == first
    network.up()
    process, second = run(**settings)
    until(lambda: not files_in(disk))
    assert process.end() == 0
    assert sorted(bucket.events()) == sorted(first + second)


def test_an_s3_that_hangs_does_not_hold_up_the_end(
    run: Callable[..., tuple[Process, list[str]]], network: S3Proxy, bucket: StoredCaptures, tmp_path: Path
) -> None:
    network.delay = 120.0
    process, ids = run(BucketName=bucket.name, CaptureDataDiskPath=str(tmp_path / "disk"))
    assert process.end() == 0  # S3 would answer after two minutes
    assert ids_on(tmp_path / "disk") == ids


def test_to_disk_with_the_original_s_settings(run: Callable[..., tuple[Process, list[str]]], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    _, ids = run(
        CaptureDataDestination="Disk", CaptureDataDiskPath=str(disk), CaptureDataBatchSize="4", FolderPrefix="a/b"
    )
    until(lambda: ids_on(disk) == ids)
    assert [path.parts[:3] for path in (file.relative_to(disk) for file in disk.rglob("*.jsonl"))] == [
        ("a", "b", FLEET)
    ]


def test_a_folder_that_another_agent_captures_to_is_refused_in_one_line(
    run: Callable[..., tuple[Process, list[str]]], python: Callable[..., Process], tmp_path: Path
) -> None:
    disk, config = tmp_path / "disk", str(tmp_path / "agent.json")
    settings = {"CaptureDataDestination": "Disk", "CaptureDataDiskPath": str(disk), "CaptureDataBatchSize": "4"}
    first, ids = run(**settings)
    second = python("emflow_agent", "--socket", str(tmp_path / "b.sock"), "--config", config)
    assert second.ended() == 1
    assert second.text().strip().splitlines()[-1] == (
        f"emflow-agent: captured data in {disk}/sme-capture/{FLEET} is used by another agent; "
        "each agent needs its own CaptureDataDiskPath"
    )
    assert not (tmp_path / "b.sock").exists()
    until(lambda: ids_on(disk) == ids)
    # Killed, it leaves nothing that keeps the next one out.
    first.end(signal.SIGKILL)
    python("emflow_agent", "--socket", str(tmp_path / "b.sock"), "--config", config).says("Server listening on")
