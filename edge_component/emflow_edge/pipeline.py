"""One stream's loop: take the newest frame when it is time, prepare it, Predict, decode, hand the result on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from emflow_edge.camera.newest import Closed
from emflow_edge.camera.source import Frame, Source
from emflow_edge.counters import Counters
from emflow_edge.inference.agent_client import Agent, Gone, PredictFailed, Stopped
from emflow_edge.inference.model import Model
from emflow_edge.inference.tflite import model_facts
from emflow_edge.problems import EdgeProblem
from emflow_edge.results.message import Result
from emflow_edge.settings.config import Settings
from emflow_edge.settings.streams import Stream
from emflow_edge.vision.decode import Choice, Decode, NoNumbers, read_labels
from emflow_edge.vision.preprocess import Preprocess

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitting:
    """What goes around one model: its preprocessing and its decoding."""

    model: Model
    preprocess: Preprocess
    decode: Decode


def fit(model: Model, settings: Settings) -> Fitting:
    """Preprocessing and decoding for a model.

    Raises:
        EdgeProblem: the model is none that pictures go into and classes come out of, or the labels do not fit.
    """
    facts = model_facts(settings.model_folder)
    wanted, model_io = settings.quantized, settings.model_io
    if wanted is not None and wanted != (model.input.dtype == "uint8"):
        log.warning("quantization is %s, but the model takes %s; going by the model", wanted, model.input.dtype)
    labels = read_labels(model_io.labels, model.classes, model_io.class_offset) if model_io.labels else ()
    decode = Decode(model, facts, model_io, labels)
    if not decode.measured:
        log.warning("no .tflite in %s tells the output's scale; confidence is its byte / 255", settings.model_folder)
    stored = facts.input.dtype if facts else model.input.dtype
    return Fitting(model, Preprocess(model.input, stored, model_io), decode)


class Cadence:
    """When the next frame is wanted: every so many seconds, without catching up on what was missed."""

    def __init__(self, every: float) -> None:
        self._every = every
        self.due = 0.0

    def taken(self, now: float) -> None:
        """A frame was taken at monotonic time `now`."""
        # On the old grid while it is kept, so that the rate is exact; a new grid after a gap.
        kept = self.due + self._every
        self.due = kept if kept > now else now + self._every


class Pipeline:
    """One stream's source and the thread that infers on its frames.

    Args:
        stream: its name, and how often.
        source: where its frames come from; started and joined here.
        emit: takes each result; must not block.
        finished: called with the problem that ends this pipeline before it was told to.
    """

    def __init__(
        self,
        stream: Stream,
        source: Source,
        settings: Settings,
        thing: str,
        agent: Agent,
        counters: Counters,
        emit: Callable[[Result], object],
        finished: Callable[[EdgeProblem], object],
        stop: threading.Event,
    ) -> None:
        self._stream, self._settings, self._thing = stream, settings, thing
        self._agent, self._counters = agent, counters
        self._emit, self._finished, self._stop = emit, finished, stop
        self._source = source
        self._cadence = Cadence(stream.every)
        self._sequence = 0
        self._failing = False
        self._thread = threading.Thread(target=self._run, name=f"infer-{stream.name}", daemon=True)

    def start(self) -> None:
        # Both at once: a camera is opened while the agent loads.
        self._source.start()
        self._thread.start()

    def join(self, timeout: float) -> bool:
        """Wait for both threads to end; whether they have."""
        deadline = time.monotonic() + timeout
        self._thread.join(timeout)
        return self._source.join(max(0.0, deadline - time.monotonic())) and not self._thread.is_alive()

    def _run(self) -> None:
        try:
            fitting = fit(self._agent.ready(), self._settings)
            while not self._stop.is_set():
                frame = self._next_frame()
                if frame is None:
                    continue
                try:
                    self._infer(fitting, frame)
                except Gone:
                    model = self._agent.ready()
                    if model != fitting.model:
                        fitting = fit(model, self._settings)
        except Stopped:
            pass
        except EdgeProblem as problem:
            self._finished(problem)

    def _next_frame(self) -> Frame | None:
        """The newest frame that was taken when it was due, or None when there is none for a while."""
        try:
            frame = self._source.frames.take(timeout=0.25)
        except (TimeoutError, Closed):
            return None
        if frame.at < self._cadence.due:
            # Came in between, just after the one before it.
            self._counters.add("skipped")
            return None
        self._cadence.taken(frame.at)
        self._source.wanted_from = self._cadence.due
        return frame

    def _infer(self, fitting: Fitting, frame: Frame) -> None:
        try:
            prediction = self._agent.predict(fitting.model, fitting.preprocess(frame.image))
            top = fitting.decode(prediction.output)
        except (PredictFailed, NoNumbers) as error:
            self._counters.add("failed")
            if not self._failing:
                self._failing = True
                log.warning("stream %s: Predict failed: %s; trying on", self._stream.name, error)
            return
        except Gone:
            self._counters.add("failed")
            raise
        self._counters.add("inferred")
        if self._failing or not self._sequence:
            self._failing = False
            log.info("stream %s: %s in %.1f ms", self._stream.name, _words(top[0]), prediction.milliseconds)
        self._emit(
            Result(
                stream=self._stream.name,
                sequence=self._sequence,
                taken=frame.taken,
                predict_ms=prediction.milliseconds,
                model_name=fitting.model.name,
                thing=self._thing,
                version=self._settings.version,
                top=top,
            )
        )
        self._sequence += 1


def _words(best: Choice) -> str:
    return f"index {best.index}{f' ({best.label})' if best.label else ''}, confidence {best.confidence:.4f}"
