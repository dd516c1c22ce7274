"""The cloud's process: one ready line, gone with its parent, clear when a port is taken."""

from __future__ import annotations

import json
import socket
import urllib.request
from pathlib import Path

import pytest

from emflow.problems import Problem
from emflow_emulator.access import Access
from emflow_emulator.aws import EmbeddedAws
from emflow_emulator.child import Child
from support import PATIENCE

CLOUD = "emflow_emulator.cloud"


def access(folder: Path) -> tuple[str, str]:
    Access.new().write(folder / "access.json")
    return "--access", str(folder / "access.json")


@pytest.mark.e2e
def test_it_prints_both_addresses_and_ends_on_request(tmp_path: Path) -> None:
    arguments = ["--port", "0", "--mqtt-port", "0", "--job-seconds", "0.1", *access(tmp_path)]
    child = Child("cloud", CLOUD, arguments, tmp_path / "log")
    try:
        ready = child.ready()
        assert (ready["region"], ready["account"]) == ("us-east-1", "123456789012")
        with urllib.request.urlopen(f"{ready['endpoint_url']}/_emflow/health") as response:
            assert json.load(response)["services"]["s3"] == "running"
        socket.create_connection((ready["mqtt_host"], ready["mqtt_port"]), timeout=PATIENCE).close()
    finally:
        child.stop()
    assert not child.running
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.e2e
def test_a_taken_port_is_said_with_the_way_out(tmp_path: Path, aws: EmbeddedAws) -> None:
    child = Child("cloud", CLOUD, ["--port", str(aws.port), *access(tmp_path)], tmp_path / "log")
    with pytest.raises(Problem, match=f"port {aws.port} on 127.0.0.1 is taken") as problem:
        child.ready()
    assert "--port" in problem.value.mend
