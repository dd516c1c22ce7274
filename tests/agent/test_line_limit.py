"""How many lines one place in the code may log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import grpc

from emflow_agent.line_limit import MAX_LINES, PERIOD, LineLimit
from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from support import Process, until


def record(line: int = 1, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("emflow_agent", level, "place.py", line, "model %s", ("a",), None)


def test_of_many_lines_of_one_place_some_are_logged_and_the_others_counted() -> None:
    now = 100.0
    limit = LineLimit(lambda: now)
    assert [limit.filter(record()) for _ in range(1000)] == [True] * MAX_LINES + [False] * (1000 - MAX_LINES)
    assert limit.filter(record(line=2)), "another place"
    now += PERIOD
    later, after = record(), record()
    assert limit.filter(later)
    assert limit.filter(after)
    assert later.getMessage() == f"model a ({1000 - MAX_LINES} more lines of this kind were left out)"
    assert after.getMessage() == "model a"


def test_lines_at_debug_level_are_all_logged() -> None:
    limit = LineLimit()
    assert all(limit.filter(record(level=logging.DEBUG)) for _ in range(10 * MAX_LINES))


def test_the_metrics_come_as_often_as_the_settings_say(python: Callable[..., Process], tmp_path: Path) -> None:
    options = ["--set", "MetricsPeriodSeconds=0.01", "--socket", str(tmp_path / "p.sock")]
    process = python("emflow_agent", *options)
    until(lambda: process.text().count("metrics: memory") > 2 * MAX_LINES, 50)
    assert process.end() == 0


def test_a_client_that_asks_again_and_again_does_not_fill_the_log(
    python: Callable[..., Process], tmp_path: Path, folder: Path
) -> None:
    process = python("emflow_agent", "--no-trial", "--socket", str(tmp_path / "p.sock"))
    process.says("Server listening on")
    with grpc.insecure_channel(f"unix:{tmp_path / 'p.sock'}") as channel:
        stub = AgentStub(channel)
        for _ in range(MAX_LINES + 40):
            stub.LoadModel(m.LoadModelRequest(url=str(folder), name="scenes"))
            for _ in range(5):
                stub.DescribeModel(m.DescribeModelRequest(name="scenes"))
            stub.UnLoadModel(m.UnLoadModelRequest(name="scenes"))
    assert process.end() == 0
    for words in ("scenes runs on", "Model:scenes loaded!", "Model:scenes unloaded", "probe"):
        # A machine that is busy may take two periods for it.
        assert process.text().count(words) <= 2 * MAX_LINES + 2, words
