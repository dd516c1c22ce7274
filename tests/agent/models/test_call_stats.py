"""What the log is told of a model's calls."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from emflow_agent.models.call_stats import CallStats
from emflow_agent.settings.sources import read_settings
from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from support import Process


def test_calls_and_failures_are_counted_and_then_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("emflow_agent.models.call_stats.time.perf_counter", lambda: now[0])
    tally = CallStats()
    for number in range(1, 101):
        with tally.measured():
            now[0] += number / 1000
    with contextlib.suppress(KeyError), tally.measured():
        raise KeyError
    assert str(tally.take_summary()) == "101 calls, 1 failed, p50 50.0 ms, p99 99.0 ms"
    assert str(tally.take_summary()) == "0 calls, 0 failed"


def test_metrics_come_every_minute_unless_somebody_says_otherwise() -> None:
    assert read_settings([]).metrics_period == 60.0
    assert read_settings(["--set", "MetricsPeriodSeconds=0"]).metrics_period == 0.0


@pytest.mark.e2e
def test_the_log_tells_calls_placement_captures_and_memory(
    python: Callable[..., Process], tmp_path: Path, folder: Path
) -> None:
    said = {
        "MetricsPeriodSeconds": "0.3",
        "DeviceFleetName": "f",
        "CaptureDataDestination": "Disk",
        "CaptureDataDiskPath": str(tmp_path / "disk"),
        "CaptureDataPushPeriodSeconds": "0.1",
    }
    options = [word for key, value in said.items() for word in ("--set", f"{key}={value}")]
    agent = python("emflow_agent", "--socket", str(tmp_path / "a.sock"), *options)
    agent.says("Server listening on")
    with grpc.insecure_channel(f"unix:{tmp_path}/a.sock") as channel:
        stub = AgentStub(channel)
        stub.LoadModel(m.LoadModelRequest(url=str(folder), name="scenes"))
        picture = m.Tensor(byte_data=bytes(150528))
        stub.Predict(m.PredictRequest(name="scenes", tensors=[picture]))
        with pytest.raises(grpc.RpcError):
            stub.Predict(m.PredictRequest(name="scenes", tensors=[m.Tensor(byte_data=b"short")]))
        capture_id = "123e4567-e89b-12d3-a456-426614174000"
        stub.CaptureData(m.CaptureDataRequest(model_name="scenes", capture_id=capture_id, input_tensors=[picture]))
        agent.says("1 failed")
        agent.says("metrics: captured data: 1 stored")
    lines = [line.partition("metrics: ")[2] for line in agent.text().splitlines() if "metrics: " in line]
    about = [line for line in lines if line.startswith("model scenes: ")]
    counts = [re.match(r"model scenes: (\d+) calls, (\d+) failed", line) for line in about]
    assert [sum(int(count[at]) for count in counts if count) for at in (1, 2)] == [2, 1]
    assert any(", p50 " in line for line in about)
    assert all(re.search(r", 0 waiting; LiteRT .* \d+ of \d+ nodes", line) for line in about)
    assert any(line.startswith("memory: ") and line.endswith(" MB left, 1 models loaded") for line in lines)
