"""The component: pipelines, model and publisher, and how a new configuration is applied without a restart.

Only what changed is replaced: a stream with the same settings loses no frame, one with another rate keeps its camera,
one with other changes gets a new pipeline. New labels and thresholds are used from the next frame on. For another model
or agent, the old model is unloaded first, because both may not fit into memory; cameras stay open. When the agent
refuses the new model, the previous configuration is restored.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from typing import Callable

from emflow_edge.camera.reader import CameraReader
from emflow_edge.inference.agent_client import AgentClient
from emflow_edge.metrics.counters import Counters
from emflow_edge.metrics.latencies import StageLatencies
from emflow_edge.model_adapter import ModelAdapter
from emflow_edge.model_loader import ModelLoader
from emflow_edge.observability.exposition import MetricsExporter
from emflow_edge.observability.overlay import jpeg
from emflow_edge.observability.reporter import Reporter
from emflow_edge.observability.status import CameraStatusListener, Status
from emflow_edge.pipeline import InferenceSetup, Pipeline
from emflow_edge.results.message import Result
from emflow_edge.results.publisher import Publisher
from emflow_edge.results.sinks import MessageSink, offline_messages
from emflow_edge.settings.config import Settings
from emflow_schema.edge_config import Stream
from emflow_schema.errors import EdgeProblem

log = logging.getLogger(__name__)

# Together less than the five seconds in which the component has to end; Greengrass itself waits for fifteen.
_JOIN_SECONDS, _DRAIN_SECONDS = 1.5, 1.5
_REPLACE_SECONDS = 0.5
_LOAD_SECONDS = 4.0  # in total, when a load is in progress whose model has to be unloaded

Secrets = Callable[[str], tuple[str, str]]
"""User and password of a secret, by its name; raises EdgeProblem. The second call for a name reads a newer version."""


class Component:
    """A run: the pipelines, the agent that they share, the publisher, and the reporter.

    Args:
        thing: name of this device.
        make_sink: makes the sink for results; called again when the publish settings change.
        secrets: returns the credentials of cameras.
        on_end: called with the problem that ends the run; None when `limit` is reached.
        limit: end after so many published results; 0 means never.
        on_first_result: called once.
    """

    def __init__(
        self,
        thing: str,
        make_sink: Callable[[Settings], MessageSink],
        secrets: Secrets,
        on_end: Callable[[EdgeProblem | None], object],
        limit: int = 0,
        on_first_result: Callable[[], object] = lambda: None,
    ) -> None:
        self.counters, self.timings = Counters(), StageLatencies()
        self.status = Status(self._status_changed)
        self._thing, self._make_sink, self._secrets = thing, make_sink, secrets
        self._on_end, self._limit = on_end, limit
        self._metrics = MetricsExporter(thing, "", self.counters, self.timings, self.status)
        self._reporter = Reporter(self._metrics, self.status, self._announce, self._annotated_jpeg, on_first_result)
        # One change at a time. Pipelines and publisher are replaced under this lock, and used without it.
        self._lock = threading.RLock()
        self._settings: Settings | None = None
        # The last settings that worked, kept until the current ones are known to work.
        self._before: Settings | None = None
        self._pipelines: dict[str, Pipeline] = {}
        self._stops: dict[str, threading.Event] = {}
        self._ending: list[Pipeline] = []
        self._sequences: dict[str, int] = {}
        self._publisher: Publisher | None = None
        self._model_loader: ModelLoader | None = None
        self._closed = self._has_result = False

    @property
    def settings(self) -> Settings | None:
        return self._settings

    def start(self, settings: Settings) -> None:
        """Run with these settings.

        Raises:
            EdgeProblem: the sink cannot be made.
        """
        self._reporter.start()
        self._change(settings, None)

    def change(self, settings: Settings) -> None:
        """Apply new settings. If they are refused, the current ones stay in use.

        Raises:
            EdgeProblem: they are refused.
        """
        with self._lock:
            if self._closed:
                return
            self.check(settings)
            self.status.set_configuration_refused("")
            if settings == self._settings:
                return
            self._before = self._before or self._settings
            self._change(settings, self._settings)

    def check(self, settings: Settings) -> None:
        """Check settings against the loaded model, as far as possible.

        Raises:
            EdgeProblem: they do not fit.
        """
        if self._model_loader is not None:
            self._model_loader.check(settings)

    def close(self) -> bool:
        """Shut down within five seconds; whether all threads have ended."""
        self._closed = True
        with self._lock:
            self._reporter.close()
            for stop in self._stops.values():
                stop.set()
            deadline = (begin := time.monotonic()) + _JOIN_SECONDS
            pipelines = [*self._pipelines.values(), *self._ending]
            ended = [pipeline.join(max(0.0, deadline - time.monotonic())) for pipeline in pipelines]
            if self._model_loader is not None:
                self._model_loader.close()
            if self._publisher is not None:
                ended.append(self._publisher.close(_DRAIN_SECONDS))
        # Without the lock: the thread that loads may be waiting for it, to report a model.
        if self._model_loader is not None:
            ended.append(self._model_loader.join(max(0.0, begin + _LOAD_SECONDS - time.monotonic())))
        log.info("ended: %s", self.counters)
        return all(ended)

    def _change(self, new: Settings, old: Settings | None) -> None:
        with self._lock:
            self._metrics.version = new.version
            if old is None or new.publish != old.publish:
                self._replace_publisher(new)
            self._settings = new
            kept, fresh = self._replace_streams(new)
            self.status.set_streams(tuple(stream.name for stream in new.streams))
            if self._model_loader is None or not self._model_loader.is_for(new):
                self._replace_model(new)
            else:
                self._model_loader.use_settings(new)
            for pipeline in fresh:
                pipeline.start()
            self._reporter.configure(new.metrics, new.publish)
            if old is not None:
                log.info("configuration changed; %d of %d streams kept running", kept, len(new.streams))

    def _replace_publisher(self, settings: Settings) -> None:
        before = self._publisher
        if before is not None and before.use_settings(settings.publish):
            return
        publisher = self._publisher = Publisher(
            self._make_sink(settings),
            settings.publish,
            self.counters,
            self.timings,
            self._on_end,
            lambda why: self.status.set_publisher(not why, why),
            self._limit,
            offline_messages=offline_messages(settings.publish, self._thing, settings.version),
        )
        if before is not None:
            # Close the old one first: a broker accepts one client of a name, and results must stay in order.
            before.close(_DRAIN_SECONDS)
        publisher.start()

    def _replace_streams(self, settings: Settings) -> tuple[int, list[Pipeline]]:
        """How many streams were kept, and the new pipelines, which have to be started."""
        wanted = {stream.name: stream for stream in settings.streams}
        self._end(
            [
                name
                for name, pipeline in self._pipelines.items()
                if name not in wanted or not _same_camera(pipeline.stream, wanted[name])
            ]
        )
        fresh = []
        for name, stream in wanted.items():
            pipeline = self._pipelines.get(name)
            if pipeline is None:
                pipeline = self._pipelines[name] = self._pipeline(stream)
                fresh.append(pipeline)
            elif pipeline.stream != stream:
                pipeline.change_rate(stream)
            pipeline.keep_latest(bool(settings.metrics.port))
        return len(wanted) - len(fresh), fresh

    def _pipeline(self, stream: Stream) -> Pipeline:
        log.info("stream %s: %s, %s", stream.name, stream.shown, stream.pace, extra={"stream": stream.name})
        stop = self._stops[stream.name] = threading.Event()
        counters = self.counters.for_stream(stream.name)
        camera = CameraReader(stream, counters, stop, CameraStatusListener(self.status, stream.name), self._secrets)
        return Pipeline(
            stream,
            camera,
            self._thing,
            counters,
            self.timings,
            self._emit,
            self._model_lost,
            self._on_end,
            stop,
            sequence=self._sequences.get(stream.name, 0),
        )

    def _end(self, names: list[str]) -> None:
        for name in names:
            self._stops.pop(name).set()
        # A camera that hangs keeps its thread for some more seconds; do not wait for it.
        deadline = time.monotonic() + _REPLACE_SECONDS
        for name in names:
            pipeline = self._pipelines.pop(name)
            if not pipeline.join(max(0.0, deadline - time.monotonic())):
                self._ending.append(pipeline)
            self._sequences[name] = pipeline.sequence
        self._ending = [pipeline for pipeline in self._ending if not pipeline.join(0)]

    def _replace_model(self, new: Settings) -> None:
        for pipeline in self._pipelines.values():
            pipeline.use_setup(None)
        if self._model_loader is not None:
            self._model_loader.close()
        self.status.set_agent(False, "the model is being loaded")
        self._model_loader = ModelLoader(new, self._model_ready, self._model_refused)
        self._model_loader.start()

    def _model_ready(self, agent: AgentClient, adapter: ModelAdapter, settings: Settings) -> None:
        with self._lock:
            if self._closed or self._model_loader is None or self._model_loader.agent is not agent:
                return
            self.status.set_agent(True)
            if self._settings is settings:
                self._before = None
            for pipeline in self._pipelines.values():
                pipeline.use_setup(InferenceSetup(agent, adapter, settings))

    def _model_refused(self, problem: EdgeProblem, settings: Settings) -> None:
        """The agent cannot load the model of these settings, or they do not fit it."""
        with self._lock:
            # Newer settings have replaced these in the meantime, and are tried next.
            if self._closed or self._settings is not settings:
                return
            old, self._before = self._before, None
            if old is None:
                self._on_end(problem)
                return
            log.error("the new configuration does not work: %s; going back to the previous one", problem)
            self.status.set_configuration_refused(str(problem))
            # If the previous one does not work any more either, the run ends.
            self._settings = dataclasses.replace(old)
            self._change(self._settings, None)

    def _model_lost(self) -> None:
        self.status.set_agent(False, "the agent is gone, or lost the model")
        loader = self._model_loader
        if loader is not None:
            loader.reload()

    def _emit(self, result: Result) -> None:
        self.status.result(result.stream)
        if not self._has_result:
            self._has_result = True
            self._reporter.first_result()
        publisher = self._publisher
        if publisher is not None:
            publisher.put(result)

    def _announce(self, topic: str, payload: str, retain: bool) -> None:
        publisher = self._publisher
        if publisher is not None:
            publisher.announce(topic, payload, retain)

    def _status_changed(self) -> None:
        self._reporter.status_changed()

    def _annotated_jpeg(self, name: str) -> bytes | None:
        pipeline = self._pipelines.get(name)
        latest = pipeline.latest if pipeline else None
        return jpeg(latest.frame.image, latest.result.outcome) if latest else None


def _same_camera(one: Stream, other: Stream) -> bool:
    """Whether two settings of a stream differ in nothing but its rate."""
    return dataclasses.replace(one, every=other.every) == other
