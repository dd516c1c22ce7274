"""One stream's loop: take the newest frame when it is time, prepare it, Predict, decode, hand the result on.

Two threads take turns at it, so that a frame is prepared and sent while the agent still works on the one before. Only
one of them takes a frame at a time, and results leave in the order in which their frames were taken.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from emflow_edge.camera.frame import Frame, FrameSource
from emflow_edge.inference.agent_client import AgentClient, AgentGone, PredictFailed, Prediction
from emflow_edge.inference.capture_sender import CapturedPrediction, CaptureSender
from emflow_edge.latest_slot import SlotClosed
from emflow_edge.metrics.counters import Counters
from emflow_edge.metrics.latencies import StageLatencies
from emflow_edge.model_adapter import ModelAdapter
from emflow_edge.model_spec import ModelMismatch
from emflow_edge.outcome import NonFiniteOutput, Outcome
from emflow_edge.pacing import RequestPacer
from emflow_edge.results.message import Result
from emflow_edge.settings.config import Settings
from emflow_schema.edge_config import Stream
from emflow_schema.errors import EdgeProblem

log = logging.getLogger(__name__)

_TURNS = 2
# How long a thread sleeps at most before it looks whether it has to end.
_LOOK = 0.25


@dataclass(frozen=True)
class InferenceSetup:
    """What is done with frames: the agent that holds the model, what goes around that model, and the settings."""

    agent: AgentClient
    fitting: ModelAdapter
    settings: Settings


@dataclass(frozen=True)
class AnnotatedFrame:
    """A frame and what came of it, for people to look at."""

    frame: Frame
    result: Result


class Pipeline:
    """One stream's source and the threads that infer on its frames, as soon as there is work for them (`use`).

    Args:
        stream: its name, and how often.
        source: where its frames come from; started and joined here.
        counters: those of this stream.
        emit: takes each result, in order; must not block.
        lost: called when the agent or its model has gone; other work is waited for then.
        finished: called with the problem that ends this pipeline before it was told to.
        stop: ends it.
        sequence: number of the first result.
    """

    def __init__(
        self,
        stream: Stream,
        source: FrameSource,
        thing: str,
        counters: Counters,
        timings: StageLatencies,
        emit: Callable[[Result], object],
        lost: Callable[[], object],
        finished: Callable[[EdgeProblem], object],
        stop: threading.Event,
        sequence: int = 0,
    ) -> None:
        self.stream = stream
        self.sequence = sequence
        self.latest: AnnotatedFrame | None = None
        self._keep_latest = False
        self._thing, self._counters, self._timings = thing, counters, timings
        self._emit, self._lost, self._finished, self._stop = emit, lost, finished, stop
        self._source = source
        self._cadence, self._pace = source.cadence, RequestPacer()
        self._capture_sender = CaptureSender(stream.name, counters.add)
        self._log = logging.LoggerAdapter(log, {"stream": stream.name})
        self._failing = self._told = False
        self._work: InferenceSetup | None = None
        self._mine = threading.local()
        # Who holds it takes the next frame. What follows is guarded by the condition.
        self._taking = threading.Lock()
        self._changed = threading.Condition()
        self._taken = self._handed = 0
        self._threads = [
            threading.Thread(target=self._run, name=f"infer-{stream.name}-{number}", daemon=True)
            for number in range(_TURNS)
        ]

    def start(self) -> None:
        # All at once: a camera is opened while the agent loads.
        self._source.start()
        for thread in self._threads:
            thread.start()

    def use(self, work: InferenceSetup | None) -> None:
        """Begin, or go on, with this, or wait; the frames that are under way end as they began."""
        with self._changed:
            self._work = work
            self._changed.notify_all()

    def change_rate(self, stream: Stream) -> None:
        """Go on with the same camera as often as this stream's settings say."""
        self.stream = stream
        with self._taking:
            self._cadence.change(stream.every.seconds, stream.every.frames)

    def keep_latest(self, keep: bool) -> None:
        """Whether the newest frame and its result are to be kept in `latest`."""
        self._keep_latest = keep
        if not keep:
            self.latest = None

    def join(self, timeout: float) -> bool:
        """Wait for all threads to end, having been told to stop; whether they have."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        ended = self._capture_sender.close(max(0.0, deadline - time.monotonic()))
        ended = self._source.join(max(0.0, deadline - time.monotonic())) and ended
        if ended and not any(thread.is_alive() for thread in self._threads):
            self._counters.add("skipped", self._source.frames.clear())
            return True
        return False

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                with self._taking:
                    frame = self._next_frame() if self._may_take() else None
                    if frame is None:
                        continue
                    work = self._work
                    if work is None:
                        self._counters.add("skipped")
                        continue
                    turn = self._taken
                    self._taken += 1
                self._infer(work, frame, turn)
        except EdgeProblem as problem:
            self._finished(problem)

    def _may_take(self) -> bool:
        """Wait until there is work and the agent is about to be free; whether that is so."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._work is not None, _LOOK):
                return False
            while self._taken > self._handed and not self._stop.is_set():
                wait = self._pace.next_take_at - time.monotonic()
                if wait <= 0:
                    break
                self._changed.wait(min(wait, _LOOK))
            return True

    def _next_frame(self) -> Frame | None:
        """The newest frame that was taken when it was due, or None when there is none for a while."""
        try:
            frame = self._source.frames.take(timeout=_LOOK)
        except (TimeoutError, SlotClosed) as error:
            if isinstance(error, SlotClosed):
                self._stop.wait(_LOOK)
            return None
        if not self._cadence.is_due(frame.arrived_at, frame.number):
            # Came in between, just after the one before it.
            self._counters.add("skipped")
            return None
        self._cadence.mark_taken(frame.arrived_at, frame.number)
        with self._changed:
            self._pace.frame_taken(time.monotonic())
        return frame

    def _own(self, work: InferenceSetup) -> ModelAdapter:
        """What goes around the model. Each thread has its own: preprocessing keeps buffers."""
        if getattr(self._mine, "work", None) is not work:
            self._mine.fitting = work.fitting.for_another_thread()
            self._mine.work = work
        fitting: ModelAdapter = self._mine.fitting
        return fitting

    def _infer(self, work: InferenceSetup, frame: Frame, turn: int) -> None:
        taken = time.monotonic()
        prediction, outcome, failure = None, None, None
        try:
            fitting = self._own(work)
            data = fitting.preprocess(frame.image)
            sent = time.monotonic()
            self._timings.preprocess.add((sent - taken) * 1000)
            prediction = work.agent.predict(fitting.model, data)
            with self._changed:
                self._pace.answered(taken, sent, time.monotonic(), self._taken - turn - 1)
            self._timings.predict.add(prediction.milliseconds)
            outcome = fitting.outcome([tensor.byte_data for tensor in prediction.outputs], frame.image)
        except Exception as error:
            # Also what nobody foresaw, such as no memory for this one frame.
            failure = error
        finally:
            with self._changed:
                self._changed.wait_for(lambda: self._handed == turn)
            try:
                if prediction and outcome:
                    self._hand_on(work, frame, prediction, outcome)
                else:
                    self._counters.add("failed")
            except Exception as error:
                failure = error
            finally:
                with self._changed:
                    self._handed += 1
                    self._changed.notify_all()
        if failure is not None:
            self._mend(work, failure)

    def _hand_on(self, work: InferenceSetup, frame: Frame, prediction: Prediction, outcome: Outcome) -> None:
        self._counters.add("inferred")
        work.agent.confirm()
        if self._failing or not self._told:
            self._failing, self._told = False, True
            self._log.info("stream %s: %s in %.1f ms", self.stream.name, _words(outcome), prediction.milliseconds)
        result = Result(
            stream=self.stream.name,
            sequence=self.sequence,
            captured_at=frame.captured_at,
            predict_ms=prediction.milliseconds,
            model_name=work.fitting.model.name,
            thing=self._thing,
            version=work.settings.version,
            outcome=outcome,
        )
        self.sequence += 1
        if self._keep_latest:
            self.latest = AnnotatedFrame(frame, result)
        self._emit(result)
        if self._capture_sender.is_due(work.settings.capture, frame.arrived_at):
            shot = CapturedPrediction(result.model_name, prediction.inputs, prediction.outputs, frame.captured_at)
            self._capture_sender.put(work.agent.stub, shot)

    def _mend(self, work: InferenceSetup, failure: Exception) -> None:
        """Do what a failed prediction needs before the next one.

        Raises:
            EdgeProblem: nothing helps.
        """
        if isinstance(failure, EdgeProblem):
            raise failure
        if not isinstance(failure, AgentGone):
            self._tell(failure)
            if not (isinstance(failure, ModelMismatch) and work.agent.recheck(work.fitting.model)):
                return
        with self._changed:
            if self._work is work:
                self._work = None
        self._lost()

    def _tell(self, failure: Exception) -> None:
        """One line for as long as nothing but failures comes."""
        if self._failing:
            return
        self._failing = True
        if isinstance(failure, (PredictFailed, NonFiniteOutput, ModelMismatch)):
            self._log.warning("stream %s: Predict failed: %s; trying on", self.stream.name, failure)
            return
        name = type(failure).__name__
        self._log.warning("stream %s: unexpected in a frame: %s: %s; trying on", self.stream.name, name, failure)
        self._log.debug("stream %s: unexpected", self.stream.name, exc_info=failure)


def _words(outcome: Outcome) -> str:
    if not outcome.top:
        return "nothing found"
    best = outcome.top[0]
    return f"index {best.index}{f' ({best.label})' if best.label else ''}, confidence {best.confidence:.4f}"
