"""One stream's loop, with frames and an agent's answers that the test chooses, over real gRPC."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.scripted_agent import NUMBERS, ManualFrameSource, ScriptedAgent, served
from emflow_edge.inference.agent_client import AgentClient
from emflow_edge.metrics.counters import Counters
from emflow_edge.metrics.latencies import StageLatencies
from emflow_edge.model_adapter import adapt_model
from emflow_edge.pipeline import InferenceSetup, Pipeline
from emflow_edge.results.message import Result
from emflow_edge.settings.config import Settings
from emflow_schema.edge_config import Stream
from emflow_schema.errors import EdgeProblem
from emflow_schema.units import Interval
from support import PATIENCE, until


class Run:
    """A pipeline at work."""

    def __init__(self, folder: Path, answering: ScriptedAgent, **stream: Any) -> None:
        self.answering, self.folder = answering, folder
        self.counters, self.timings = Counters(), StageLatencies()
        self.source = ManualFrameSource(self.counters)
        self.stream = Stream("front", "rtsp://camera/1", **{"every": Interval("0s"), **stream})
        self.source.cadence.change(self.stream.every.seconds, self.stream.every.frames)
        self.results: list[Result] = []
        self.problems: list[EdgeProblem] = []
        self.lost = threading.Event()
        self.stop, self.agent_stop = threading.Event(), threading.Event()
        self.agent = AgentClient(str(folder / "a.sock"), "net", folder, self.agent_stop)
        self.pipeline = Pipeline(
            self.stream,
            self.source,
            "thing",
            self.counters,
            self.timings,
            self.results.append,
            self.lost.set,
            self.problems.append,
            self.stop,
        )

    def work(self) -> InferenceSetup:
        settings = Settings("net", self.folder, (self.stream,))
        return InferenceSetup(self.agent, adapt_model(self.agent.ensure_loaded(), settings), settings)

    def begin(self) -> None:
        self.pipeline.use_setup(self.work())
        self.pipeline.start()

    def now(self, name: str) -> int:
        return self.counters.snapshot()[name]

    def handled(self) -> int:
        return self.now("skipped") + self.now("inferred") + self.now("failed")

    def end(self) -> None:
        self.stop.set()
        assert self.pipeline.join(PATIENCE)
        self.agent.close()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    with ExitStack() as stack:

        def make(answer: Callable[[int], tuple[float, ...]], **stream: Any) -> Run:
            answering = ScriptedAgent(answer)
            stack.enter_context(served(answering, tmp_path / "a.sock"))
            run = Run(tmp_path, answering, **stream)
            run.begin()
            stack.callback(run.end)
            return run

        yield make


def top(result: Result) -> tuple[int, float]:
    return result.outcome.top[0].index, result.outcome.top[0].confidence


def test_outputs_that_are_not_numbers_are_counted_reported_and_not_published(
    run: Callable[..., Run], caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([NUMBERS, (np.nan,) * 3, (0.5, np.inf, 0.5), NUMBERS])
    one = run(lambda _: next(answers))
    for number in range(1, 5):
        one.source.put()
        until(lambda number=number: one.handled() == number or one.problems)
    assert not one.problems
    assert (one.now("inferred"), one.now("failed")) == (2, 2)
    assert [(result.sequence, *top(result)) for result in one.results] == [(0, 1, 0.5), (1, 1, 0.5)]
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    (line,) = [line for line in said if "NaN" in line]
    what = "3 of the 3 values in the model's output 'classes' are NaN or infinite"
    assert line == f"stream front: Predict failed: {what}; continuing"


def test_a_frame_is_sent_while_the_agent_works_on_the_one_before_and_never_a_third(run: Callable[..., Run]) -> None:
    working, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def answer(_: int) -> tuple[float, ...]:
        working.release()
        assert go_on.acquire(timeout=PATIENCE)
        return NUMBERS

    one = run(answer)
    for _ in range(2):
        one.source.put()
        assert working.acquire(timeout=PATIENCE)
    one.source.put()
    one.source.put()
    assert not working.acquire(timeout=0.3)
    assert one.now("skipped") == 1
    for _ in range(3):
        go_on.release()
    until(lambda: one.now("inferred") == 3)
    assert one.answering.most_at_once == 2


def test_results_leave_in_the_order_of_their_frames_whichever_answer_comes_first(run: Callable[..., Run]) -> None:
    second = threading.Event()
    answers = {1: (1.0, 0.0, 0.0), 2: (0.0, 1.0, 0.0)}

    def answer(brightness: int) -> tuple[float, ...]:
        if brightness == 1:
            assert second.wait(PATIENCE)
        else:
            second.set()
        return answers[brightness]

    one = run(answer)
    one.source.put(1)
    until(lambda: one.answering.most_at_once == 1)
    one.source.put(2)
    until(lambda: len(one.results) == 2)
    assert [result.outcome.top[0].index for result in one.results] == [0, 1]
    assert [result.sequence for result in one.results] == [0, 1]


def test_the_newest_frame_wins_and_every_frame_is_counted_once(run: Callable[..., Run]) -> None:
    seen: list[int] = []
    go_on = threading.Semaphore(0)

    def answer(brightness: int) -> tuple[float, ...]:
        seen.append(brightness)
        assert go_on.acquire(timeout=PATIENCE)
        return NUMBERS

    one = run(answer)
    for number in range(200):
        one.source.put(number)
        if number % 10 == 0:  # the agent is ten times slower than the camera
            until(lambda number=number: len(seen) > number // 10, what="the next frame at the agent")
            go_on.release()
    one.stop.set()
    for _ in range(200):
        go_on.release()
    assert one.pipeline.join(PATIENCE)
    assert one.handled() == one.now("captured") == 200
    assert one.now("skipped") > 100
    assert len(set(seen)) == len(seen)
    times = [result.captured_at for result in one.results]
    assert times == sorted(times)


def test_a_rate_in_frames_takes_every_so_manyth(run: Callable[..., Run]) -> None:
    seen: list[int] = []

    def answer(brightness: int) -> tuple[float, ...]:
        seen.append(brightness)
        return NUMBERS

    one = run(answer, every=Interval("5 frames"))
    for number in range(1, 21):
        one.source.put(number)
        until(lambda number=number: one.handled() == number)
    assert seen == [1, 6, 11, 16]


def test_a_rate_that_changes_counts_from_the_next_frame_on(run: Callable[..., Run]) -> None:
    one = run(lambda _: NUMBERS, every=Interval("3600s"))
    one.source.put()
    until(lambda: one.now("inferred") == 1)
    one.source.put()
    until(lambda: one.now("skipped") == 1)
    one.pipeline.change_rate(Stream("front", "rtsp://camera/1", every=Interval("0s")))
    for number in range(2, 5):
        one.source.put()
        until(lambda number=number: one.now("inferred") == number)


def test_a_model_that_is_gone_is_reported_and_other_work_is_waited_for(run: Callable[..., Run]) -> None:
    one = run(lambda _: NUMBERS)
    one.source.put()
    until(lambda: one.now("inferred") == 1)
    one.answering.loaded.clear()
    one.source.put()
    assert one.lost.wait(PATIENCE)
    assert one.now("failed") == 1
    one.pipeline.use_setup(one.work())
    one.source.put()
    until(lambda: one.now("inferred") == 2)
    assert not one.problems
