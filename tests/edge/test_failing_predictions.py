"""Predictions that fail for reasons of every kind, and that the run goes on after each of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.scripted_agent import NUMBERS, ManualFrameSource, ScriptedAgent, served
from emflow_edge.component import Component
from emflow_edge.results.sinks import StdoutSink
from emflow_edge.settings.config import Settings
from emflow_edge.vision.preprocess import Preprocessor
from emflow_proto import messages as m
from emflow_schema.edge_config import Stream
from emflow_schema.errors import EdgeProblem
from emflow_schema.units import Interval
from support import until

FIVE = m.TensorMetadata(name=b"classes", data_type=m.DataType.FLOAT32, shape=[1, 5])


class Running:
    """A component with one camera, whose frames the test puts."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ended: list[EdgeProblem | None] = []
        self.component = Component("thing", lambda _: StdoutSink(), lambda _: ("", ""), self.ended.append)
        self.source = ManualFrameSource(self.component.counters.for_stream("front"))
        monkeypatch.setattr("emflow_edge.component.CameraReader", lambda *_: self.source)
        stream = Stream("front", "rtsp://camera/1", every=Interval("0s"))
        self.component.start(Settings("net", folder, (stream,), agent_socket=str(folder / "a.sock")))

    def count(self, name: str) -> int:
        return self.component.counters.snapshot()[name]

    def until_one_more(self, name: str) -> None:
        """Put frames until one of them counts as this."""
        before = self.count(name)

        def counted() -> bool:
            if self.count(name) == before:
                self.source.put()
            return self.count(name) > before or bool(self.ended)

        until(counted)
        assert not self.ended, self.ended


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[ScriptedAgent]:
    agent = ScriptedAgent()
    with served(agent, tmp_path / "a.sock"):
        yield agent


@pytest.fixture
def running(tmp_path: Path, agent: ScriptedAgent, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    running = Running(tmp_path, monkeypatch)
    running.until_one_more("inferred")
    yield running
    assert running.component.close()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_another_model_under_the_name_makes_way_for_what_the_folder_holds(
    running: Running, agent: ScriptedAgent, caplog: pytest.LogCaptureFixture
) -> None:
    agent.answer, agent.classes = lambda _: (0.1, 0.1, 0.1, 0.1, 0.6), FIVE
    running.until_one_more("inferred")
    assert running.count("failed") >= 1
    assert warnings(caplog) == [
        "stream front: Predict failed: the agent sent 20 bytes for an output of 12 (float32 [1, 3]); continuing"
    ]
    # The agent says of it only that it is not the one from before.
    assert agent.calls == ["load net", "load net", "unload net", "load net"]
    running.component.close()
    assert agent.loaded == set()


def test_an_agent_with_outputs_of_a_wrong_size_is_reported_once_and_recovers(
    running: Running, agent: ScriptedAgent, caplog: pytest.LogCaptureFixture
) -> None:
    agent.answer = lambda _: (0.5, 0.5)
    for _ in range(20):
        running.until_one_more("failed")
    assert agent.calls.count("load net") <= 4
    agent.answer = lambda _: NUMBERS
    running.until_one_more("inferred")
    assert len(warnings(caplog)) == 1
    running.component.close()
    assert agent.loaded == set()


@pytest.mark.parametrize("error", [MemoryError(), ValueError("no such size"), OSError(12, "no memory")])
def test_an_unexpected_error_of_a_frame_is_counted_and_reported_once(
    running: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: object) -> bytes:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(Preprocessor, "__call__", fails)
        for _ in range(5):
            running.until_one_more("failed")
    running.until_one_more("inferred")
    assert warnings(caplog) == [
        f"stream front: unexpected error in a frame: {type(error).__name__}: {error}; continuing"
    ]


def test_a_thread_that_gets_no_preprocessing_of_its_own_tries_again(
    running: Running, agent: ScriptedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> object:
        raise MemoryError

    settings = running.component.settings
    assert settings is not None
    with monkeypatch.context() as broken:
        broken.setattr("emflow_edge.model_adapter.ModelAdapter.for_another_thread", fails)
        running.component.change(dataclasses.replace(settings, version="2"))
        running.until_one_more("failed")
    agent.answer = lambda _: tuple(np.array([0.0, 0.0, 1.0], np.float32))
    running.until_one_more("inferred")
