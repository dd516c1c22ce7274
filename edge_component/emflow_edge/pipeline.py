"""The loop of one stream: take the newest frame when it is due, preprocess, Predict, decode, publish the result.

Two threads run it, so that a frame is preprocessed and sent while the agent still processes the previous one. Only one
thread takes a frame at a time, and results are delivered in the order of their frames.
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
from emflow_edge.results.sequence import Sequence
from emflow_edge.settings.config import Settings
from emflow_schema.edge_config import Stream
from emflow_schema.errors import EdgeProblem

log = logging.getLogger(__name__)

_THREADS = 2
# Maximum seconds between two checks whether a thread has to end.
_LOOK = 0.25


@dataclass(frozen=True)
class InferenceSetup:
    """What is needed for inference: the agent with the loaded model, the model adapter, and the settings."""

    agent: AgentClient
    adapter: ModelAdapter
    settings: Settings


@dataclass(frozen=True)
class AnnotatedFrame:
    """The newest frame and its result, for the HTTP server."""

    frame: Frame
    result: Result


class Pipeline:
    """The frame source of one stream and the threads that run inference, as soon as a model is set (`use_setup`).

    Args:
        stream: name and rate.
        source: frame source; started and joined here.
        counters: those of this stream.
        emit: called with each result, in order; must not block.
        lost: called when the agent or its model is lost; the pipeline then waits for `use_setup`.
        finished: called with the problem when this pipeline ends by itself.
        stop: ends it.
        sequence: the numbers of this stream's results, shared with other pipelines of its name; without it, its own.
        run: names this process in the results.
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
        sequence: Sequence | None = None,
        run: str = "",
    ) -> None:
        self.stream = stream
        self._sequence, self._run_id = sequence or Sequence(), run
        self.latest: AnnotatedFrame | None = None
        self._keep_latest = False
        self._thing, self._counters, self._timings = thing, counters, timings.for_stream(stream.name)
        self._emit, self._lost, self._finished, self._stop = emit, lost, finished, stop
        self._source = source
        self._cadence, self._pacer = source.cadence, RequestPacer()
        self._capture_sender = CaptureSender(stream.name, counters.add)
        self._log = logging.LoggerAdapter(log, {"stream": stream.name})
        self._failing = self._first_logged = False
        self._setup: InferenceSetup | None = None
        self._agent: AgentClient | None = None
        self._local = threading.local()
        # Held while taking the next frame. The attributes below are guarded by the condition.
        self._taking = threading.Lock()
        self._changed = threading.Condition()
        self._taken = self._delivered = 0
        self._threads = [
            threading.Thread(target=self._run, name=f"infer-{stream.name}-{number}", daemon=True)
            for number in range(_THREADS)
        ]

    def start(self) -> None:
        # The camera is opened while the agent loads the model.
        self._source.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End it; `join` waits for that. Frames in progress are finished."""
        self._stop.set()
        self.use_setup(None)

    def use_setup(self, setup: InferenceSetup | None) -> None:
        """Use this setup from the next frame on; None: wait. Frames in progress finish with the previous one."""
        with self._changed:
            if setup is not None and setup.agent is not self._agent:
                # Another model: how long it takes, and whether it fails, has nothing to do with the one before.
                self._agent, self._pacer = setup.agent, RequestPacer()
                self._failing = self._first_logged = False
                self.latest = None
            self._setup = setup
            self._changed.notify_all()

    def change_rate(self, stream: Stream) -> None:
        """Keep the camera and use the rate of these settings."""
        self.stream = stream
        with self._taking:
            self._cadence.change(stream.every.seconds, stream.every.frames)

    def keep_latest(self, keep: bool) -> None:
        """Whether to keep the newest frame and its result in `latest`."""
        self._keep_latest = keep
        if not keep:
            self.latest = None

    def join(self, timeout: float) -> bool:
        """Wait for all threads after `stop` was set; whether they have ended."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._changed.notify_all()
        for thread in self._started():
            thread.join(max(0.0, deadline - time.monotonic()))
        ended = self._capture_sender.close(max(0.0, deadline - time.monotonic()))
        ended = self._source.join(max(0.0, deadline - time.monotonic())) and ended
        if ended and not any(thread.is_alive() for thread in self._started()):
            self._counters.add("skipped", self._source.frames.clear())
            return True
        return False

    def _started(self) -> list[threading.Thread]:
        """Its threads without those that the system could not start."""
        return [thread for thread in self._threads if thread.ident is not None]

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                with self._taking:
                    frame = self._next_frame() if self._may_take() else None
                    if frame is None:
                        continue
                    setup = self._setup
                    if setup is None:
                        self._counters.add("skipped")
                        continue
                    turn = self._taken
                    self._taken += 1
                self._infer(setup, frame, turn)
        except EdgeProblem as problem:
            self._finished(problem)

    def _may_take(self) -> bool:
        """Wait until there is a model and the agent is about to be free; whether that is so."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._setup is not None, _LOOK):
                return False
            while self._taken > self._delivered and not self._stop.is_set():
                wait = self._pacer.next_take_at - time.monotonic()
                if wait <= 0:
                    break
                self._changed.wait(min(wait, _LOOK))
            return True

    def _next_frame(self) -> Frame | None:
        """The newest frame if it is due; None when none came within _LOOK or it is not due."""
        try:
            frame = self._source.frames.take(timeout=_LOOK)
        except (TimeoutError, SlotClosed) as error:
            if isinstance(error, SlotClosed):
                self._stop.wait(_LOOK)
            return None
        if not self._cadence.is_due(frame.arrived_at, frame.number):
            # It came too soon after the previous one.
            self._counters.add("skipped")
            return None
        self._cadence.mark_taken(frame.arrived_at, frame.number)
        with self._changed:
            self._pacer.frame_taken(time.monotonic())
        return frame

    def _adapter_for_thread(self, setup: InferenceSetup) -> ModelAdapter:
        """The model adapter of this thread: preprocessing keeps buffers."""
        if getattr(self._local, "setup", None) is not setup:
            self._local.adapter = setup.adapter.for_another_thread()
            self._local.setup = setup
        adapter: ModelAdapter = self._local.adapter
        return adapter

    def _infer(self, setup: InferenceSetup, frame: Frame, turn: int) -> None:
        taken = time.monotonic()
        prediction, outcome, failure = None, None, None
        try:
            adapter = self._adapter_for_thread(setup)
            data = adapter.preprocess(frame.image)
            sent = time.monotonic()
            self._timings.preprocess.add((sent - taken) * 1000)
            prediction = setup.agent.predict(adapter.model, data)
            with self._changed:
                if setup.agent is self._agent:
                    self._pacer.answered(taken, sent, time.monotonic(), self._taken - turn - 1)
            self._timings.predict.add(prediction.milliseconds)
            outcome = adapter.outcome([tensor.byte_data for tensor in prediction.outputs], frame.image)
        except Exception as error:
            # Unexpected errors too, such as no memory for this frame.
            failure = error
        finally:
            with self._changed:
                self._changed.wait_for(lambda: self._delivered == turn)
            try:
                if prediction and outcome:
                    self._deliver(setup, frame, prediction, outcome)
                else:
                    self._counters.add("failed")
            except Exception as error:
                failure = error
            finally:
                with self._changed:
                    self._delivered += 1
                    self._changed.notify_all()
        if failure is not None:
            self._recover(setup, failure)

    def _deliver(self, setup: InferenceSetup, frame: Frame, prediction: Prediction, outcome: Outcome) -> None:
        self._counters.add("inferred")
        setup.agent.confirm()
        if self._failing or not self._first_logged:
            self._failing, self._first_logged = False, True
            self._log.info("stream %s: %s in %.1f ms", self.stream.name, _summary(outcome), prediction.milliseconds)

        def numbered(sequence: int) -> Result:
            return Result(
                stream=self.stream.name,
                sequence=sequence,
                captured_at=frame.captured_at,
                captured_monotonic=frame.captured_monotonic,
                predict_ms=prediction.milliseconds,
                model_name=setup.adapter.model.name,
                thing=self._thing,
                version=setup.settings.version,
                outcome=outcome,
                run=self._run_id,
                settings=setup.settings,
            )

        result = self._sequence.emit(numbered, self._emit)
        if self._keep_latest:
            self.latest = AnnotatedFrame(frame, result)
        if self._capture_sender.is_due(setup.settings.capture, frame.arrived_at):
            shot = CapturedPrediction(
                *(result.model_name, prediction.inputs, prediction.outputs, frame.captured_at),
                handle=setup.adapter.model.handle,
            )
            self._capture_sender.put(setup.agent.stub, shot)

    def _recover(self, setup: InferenceSetup, failure: Exception) -> None:
        """React to a failed prediction.

        Raises:
            EdgeProblem: the problem is permanent.
        """
        if isinstance(failure, EdgeProblem):
            raise failure
        if not isinstance(failure, AgentGone):
            self._log_failure(failure)
            if not (isinstance(failure, ModelMismatch) and setup.agent.recheck(setup.adapter.model)):
                return
        with self._changed:
            if self._setup is not setup:
                # It has been replaced in the meantime, or another thread has reported its loss.
                return
            self._setup = None
        self._lost()

    def _log_failure(self, failure: Exception) -> None:
        """Log the first of consecutive failures only."""
        if self._failing:
            return
        self._failing = True
        if isinstance(failure, (PredictFailed, NonFiniteOutput, ModelMismatch)):
            self._log.warning("stream %s: Predict failed: %s; continuing", self.stream.name, failure)
            return
        name = type(failure).__name__
        self._log.warning("stream %s: unexpected error in a frame: %s: %s; continuing", self.stream.name, name, failure)
        self._log.debug("stream %s: unexpected error", self.stream.name, exc_info=failure)


def _summary(outcome: Outcome) -> str:
    if not outcome.top:
        return "nothing found"
    best = outcome.top[0]
    return f"index {best.index}{f' ({best.label})' if best.label else ''}, confidence {best.confidence:.4f}"
