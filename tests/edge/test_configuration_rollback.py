"""Which settings a component goes back to when an agent, there at last, refuses the new ones."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from edge.scripted_agent import ScriptedAgent, served
from emflow_edge.component import Component
from emflow_edge.results.sinks import StdoutSink
from emflow_edge.settings.config import Settings
from emflow_proto import messages as m
from emflow_schema.edge_config import ModelIO, Stream
from emflow_schema.errors import EdgeProblem
from emflow_schema.units import Interval
from support import until


class Running:
    """A component whose camera is away, and what ended it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.ended: list[EdgeProblem | None] = []
        self.first = Settings(
            "net", folder, (Stream("front", f"rtsp://127.0.0.1:{port}/"),), agent_socket=str(folder / "a.sock")
        )
        self.component = Component("thing", lambda _: StdoutSink(), lambda _: ("", ""), self.ended.append)
        self.component.start(self.first)

    @property
    def told(self) -> dict[str, Any]:
        return self.component.status.snapshot()


@pytest.fixture
def agent() -> ScriptedAgent:
    return ScriptedAgent()


@pytest.fixture
def running(tmp_path: Path, absent_port: int) -> Iterator[Running]:
    running = Running(tmp_path, absent_port)
    yield running
    assert running.component.close()


def slower(settings: Settings) -> Settings:
    return dataclasses.replace(settings, streams=(dataclasses.replace(settings.streams[0], every=Interval("5s")),))


def mislabelled(settings: Settings, folder: Path) -> Settings:
    labels = folder / "labels.txt"
    labels.write_text("one\n")
    return dataclasses.replace(settings, model_io=ModelIO(labels=str(labels)))


def test_a_model_that_is_refused_ends_the_run_though_the_rate_was_changed_meanwhile(
    running: Running, agent: ScriptedAgent, tmp_path: Path
) -> None:
    agent.refuses["net"] = grpc.StatusCode.NOT_FOUND
    running.component.change(slower(running.first))
    with served(agent, tmp_path / "a.sock"):
        until(lambda: running.ended)
    assert "finds no model at" in str(running.ended[0])


def test_settings_that_do_not_fit_the_model_are_reported_and_rolled_back(
    running: Running, agent: ScriptedAgent, tmp_path: Path
) -> None:
    running.component.change(mislabelled(running.first, tmp_path))
    with served(agent, tmp_path / "a.sock"):
        until(lambda: "modelIO.labels" in str(running.told.get("configuration_refused")))
        until(lambda: running.component.settings == running.first)
        # The next one that is good is taken, and nothing is said to be refused any more.
        running.component.change(slower(running.first))
        until(lambda: "configuration_refused" not in running.told)
    assert not running.ended


def test_a_model_refused_after_it_worked_is_not_replaced_by_an_older_one(
    running: Running, agent: ScriptedAgent, tmp_path: Path
) -> None:
    with served(agent, tmp_path / "a.sock"):
        until(lambda: agent.loaded == {"net"})
        running.component.change(dataclasses.replace(running.first, model_name="other"))
        # The agent has it before its answer has arrived: wait until the component keeps nothing to go back to.
        until(lambda: agent.loaded == {"other"} and running.component._before is None)
        agent.loaded.clear()
        agent.refuses["other"] = grpc.StatusCode.FAILED_PRECONDITION
        assert running.component._model_loader
        running.component._model_loader.agent._model = None
        running.component._model_lost()
        until(lambda: running.ended)
    assert "model other" in str(running.ended[0])


def test_going_back_by_hand_takes_the_refusal_back(running: Running, tmp_path: Path) -> None:
    running.component.status.set_configuration_refused("every: is wrong")
    running.component.change(running.first)
    assert "configuration_refused" not in running.told


def test_a_model_that_is_being_loaded_when_the_component_ends_is_not_left_behind(
    running: Running, agent: ScriptedAgent, tmp_path: Path
) -> None:
    load, go_on = agent.LoadModel, threading.Event()

    def slow(request: m.LoadModelRequest, context: grpc.ServicerContext) -> m.LoadModelResponse:
        answer = load(request, context)
        assert go_on.wait(60)
        return answer

    agent.LoadModel = slow  # type: ignore[method-assign]
    with served(agent, tmp_path / "a.sock"):
        until(lambda: agent.loaded)
        threading.Timer(1.0, go_on.set).start()
        assert running.component.close()
        assert agent.loaded == set()


def test_a_model_that_is_reported_while_the_component_ends_does_not_delay_it(
    running: Running, agent: ScriptedAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    component, reported, ending = running.component, threading.Event(), threading.Event()
    loader = component._model_loader
    assert loader
    close_reporter, report = component._reporter.close, loader._ready

    def report_late(*args: Any) -> None:
        reported.set()
        assert ending.wait(60)
        report(*args)

    def close_reporter_while_locked() -> None:
        ending.set()
        close_reporter()

    monkeypatch.setattr(loader, "_ready", report_late)
    monkeypatch.setattr(component._reporter, "close", close_reporter_while_locked)
    monkeypatch.setattr("emflow_edge.component._LOAD_SECONDS", 10.0)
    with served(agent, tmp_path / "a.sock"):
        assert reported.wait(60)
        assert component.close()
