"""Captures out of a stream's loop: the tensors of the very result, switched on and off while it runs."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from edge.scripted_agent import ManualFrameSource, ScriptedAgent, served
from edge.scripted_agent import brightness as seen
from emflow_edge.inference.agent_client import AgentClient
from emflow_edge.metrics.counters import Counters
from emflow_edge.metrics.latencies import StageLatencies
from emflow_edge.model_adapter import adapt_model
from emflow_edge.pipeline import InferenceSetup, Pipeline
from emflow_edge.results.message import Result
from emflow_edge.settings.config import Settings
from emflow_proto import messages as m
from emflow_schema.edge_config import Capture, Stream
from emflow_schema.units import Interval
from support import until

OFF, EACH = Capture(False), Capture(True, Interval("0s"))


class Keeping(ScriptedAgent):
    """An agent that takes captures, each a little different for another brightness."""

    def __init__(self) -> None:
        super().__init__(lambda brightness: (brightness / 255, 0.5, 0.25))
        self.captures: list[m.CaptureDataRequest] = []
        self.open = threading.Event()
        self.open.set()

    def CaptureData(self, request: m.CaptureDataRequest, context: grpc.ServicerContext) -> m.CaptureDataResponse:  # noqa: N802
        self.open.wait(60)
        self.captures.append(request)
        return m.CaptureDataResponse()


class Run:
    """A stream's loop before such an agent."""

    def __init__(self, folder: Path) -> None:
        self.keeping, self.counters, self.results = Keeping(), Counters(), list[Result]()
        self.stop, self._problems = threading.Event(), list[object]()
        self.source = ManualFrameSource(self.counters)
        stream = Stream("front", "rtsp://camera/1", every=Interval("0s"))
        self._settings = Settings("net", folder, (stream,))
        self._agent = AgentClient(str(folder / "a.sock"), "net", folder, threading.Event())
        emit, lost, finished = self.results.append, threading.Event().set, self._problems.append
        self._pipeline = Pipeline(
            stream, self.source, "thing", self.counters, StageLatencies(), emit, lost, finished, self.stop
        )

    def begin(self) -> None:
        self.use(OFF)
        self._pipeline.start()

    def use(self, capture: Capture) -> None:
        settings = dataclasses.replace(self._settings, capture=capture)
        self._pipeline.use_setup(
            InferenceSetup(self._agent, adapt_model(self._agent.ensure_loaded(), settings), settings)
        )

    def see(self, brightness: int) -> Result:
        """A frame, and what came of it."""
        before = len(self.results)
        self.source.put(brightness)
        until(lambda: len(self.results) > before)
        return self.results[-1]

    def counted(self, name: str) -> int:
        return self.counters.snapshot()[name]

    def end(self) -> None:
        self.keeping.open.set()
        self.stop.set()
        assert self._pipeline.join(10)
        self._agent.close()
        assert not self._problems


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    one = Run(tmp_path)
    with served(one.keeping, tmp_path / "a.sock"):
        one.begin()
        yield one
        one.end()


def test_a_capture_has_what_went_in_and_came_out_of_one_inference(run: Run) -> None:
    run.use(EACH)
    for number, brightness in enumerate((10, 200, 90), 1):
        result = run.see(brightness)
        until(lambda number=number: run.counted("captures") == number)
        capture = run.keeping.captures[-1]
        (given,), (came,) = capture.input_tensors, capture.output_tensors
        assert (seen(given.byte_data), len(given.byte_data)) == (brightness, 4 * 4 * 4 * 3)
        assert given.tensor_metadata.name == b"picture"
        assert np.frombuffer(came.byte_data, np.float32).tolist() == pytest.approx([brightness / 255, 0.5, 0.25])
        stamp = capture.inference_timestamp
        assert stamp.seconds + stamp.nanos / 1e9 == pytest.approx(result.captured_at, abs=1e-5)
    assert len({capture.capture_id for capture in run.keeping.captures}) == 3


def test_it_is_switched_on_and_off_while_the_loop_runs(run: Run) -> None:
    run.see(1)
    run.use(Capture(True, Interval("2 frames")))
    for brightness in (2, 3, 4):
        run.see(brightness)
        until(lambda: run.counted("captures") == len(run.keeping.captures))
    until(lambda: run.counted("captures") == 2)
    run.use(OFF)
    run.see(5)
    assert [seen(capture.input_tensors[0].byte_data) for capture in run.keeping.captures] == [2, 4]


def test_an_agent_that_is_slow_to_take_captures_holds_up_no_result(run: Run) -> None:
    run.use(EACH)
    run.keeping.open.clear()
    for brightness in range(20):
        run.see(brightness)
    assert run.counted("captures") == 0
    run.keeping.open.set()
    until(lambda: run.counted("captures") + run.counted("captures_failed") == 20)
    assert seen(run.keeping.captures[-1].input_tensors[0].byte_data) == 19
