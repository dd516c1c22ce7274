"""All that runs between camera and broker, and how it gets from one configuration to the next without a restart.

What changed is exchanged, and nothing else: a stream whose settings stayed the same loses no frame, one whose rate
changed keeps its camera, one that changed otherwise gets a new pipeline. Labels, thresholds and the like are fitted to
the model anew and used from the next frame on. Another model, or another agent, means that the old model is unloaded
first, because both may not fit; cameras stay open meanwhile. When the agent refuses the new one, the old one comes
back.
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

# Together under the five seconds in which a component has to be gone; Greengrass itself would wait for fifteen.
_JOIN_SECONDS, _DRAIN_SECONDS = 1.5, 1.5
_EXCHANGE_SECONDS = 0.5
_LOAD_SECONDS = 4.0  # in all, where a load is under way whose model is to be unloaded

Secrets = Callable[[str], tuple[str, str]]
"""User and password out of a secret, by its name; raises EdgeProblem. Asked again, it looks for newer ones."""


class Component:
    """A run: pipelines, the agent that they share, the publisher, and what watches them.

    Args:
        thing: name of this device.
        outlet: makes where results go; called again when the settings of publishing change.
        secrets: gives cameras' credentials.
        told: called with what ends the run: None when it did what it was asked for.
        limit: end after so many results; 0 means never.
        began: called once, when the first result was made.
    """

    def __init__(
        self,
        thing: str,
        outlet: Callable[[Settings], MessageSink],
        secrets: Secrets,
        told: Callable[[EdgeProblem | None], object],
        limit: int = 0,
        began: Callable[[], object] = lambda: None,
    ) -> None:
        self.counters, self.timings = Counters(), StageLatencies()
        self.status = Status(self._status_changed)
        self._thing, self._outlet, self._secrets, self._told, self._limit = thing, outlet, secrets, told, limit
        self._metrics = MetricsExporter(thing, "", self.counters, self.timings, self.status)
        self._watcher = Reporter(self._metrics, self.status, self._announce, self._picture, began)
        # One change at a time. Pipelines and publisher are exchanged under it, and used without.
        self._lock = threading.RLock()
        self._settings: Settings | None = None
        # What to go back to: the last that worked, as long as it is not known whether those of now do.
        self._before: Settings | None = None
        self._pipelines: dict[str, Pipeline] = {}
        self._stops: dict[str, threading.Event] = {}
        self._ending: list[Pipeline] = []
        self._sequences: dict[str, int] = {}
        self._publisher: Publisher | None = None
        self._loading: ModelLoader | None = None
        self._closed = self._began = False

    @property
    def settings(self) -> Settings | None:
        return self._settings

    def start(self, settings: Settings) -> None:
        """Run with these settings.

        Raises:
            EdgeProblem: the outlet cannot be made.
        """
        self._watcher.start()
        self._change(settings, None)

    def change(self, settings: Settings) -> None:
        """Go on with these settings. What they cannot be changed to is told in the log, and the old ones stay.

        Raises:
            EdgeProblem: why they were not taken.
        """
        with self._lock:
            if self._closed:
                return
            self.check(settings)
            self.status.refused("")
            if settings == self._settings:
                return
            self._before = self._before or self._settings
            self._change(settings, self._settings)

    def check(self, settings: Settings) -> None:
        """Whether settings fit the model that is loaded, as far as that can be told now.

        Raises:
            EdgeProblem: what does not fit.
        """
        if self._loading is not None:
            self._loading.check(settings)

    def close(self) -> bool:
        """Take everything down, within five seconds; whether all threads have ended."""
        self._closed = True
        with self._lock:
            self._watcher.close()
            for stop in self._stops.values():
                stop.set()
            deadline = (begin := time.monotonic()) + _JOIN_SECONDS
            pipelines = [*self._pipelines.values(), *self._ending]
            ended = [pipeline.join(max(0.0, deadline - time.monotonic())) for pipeline in pipelines]
            if self._loading is not None:
                self._loading.close()
            if self._publisher is not None:
                ended.append(self._publisher.close(_DRAIN_SECONDS))
            if self._loading is not None:
                ended.append(self._loading.join(max(0.0, begin + _LOAD_SECONDS - time.monotonic())))
            log.info("ended: %s", self.counters)
            return all(ended)

    def _change(self, new: Settings, old: Settings | None) -> None:
        with self._lock:
            self._metrics.version = new.version
            if old is None or new.publish != old.publish:
                self._exchange_publisher(new)
            self._settings = new
            kept, fresh = self._exchange_streams(new)
            self.status.keep(tuple(stream.name for stream in new.streams))
            if self._loading is None or not self._loading.is_for(new):
                self._exchange_agent(new)
            else:
                self._loading.use(new)
            for pipeline in fresh:
                pipeline.start()
            self._watcher.configure(new.metrics, new.publish)
            if old is not None:
                log.info("configuration changed; %d of %d streams kept running", kept, len(new.streams))

    def _exchange_publisher(self, settings: Settings) -> None:
        before = self._publisher
        if before is not None and before.use(settings.publish):
            return
        publisher = self._publisher = Publisher(
            self._outlet(settings),
            settings.publish,
            self.counters,
            self.timings,
            self._told,
            lambda why: self.status.publisher(not why, why),
            self._limit,
            offline_messages=offline_messages(settings.publish, self._thing, settings.version),
        )
        if before is not None:
            # First, because a broker lets one client of a name in, and because of the order of results.
            before.close(_DRAIN_SECONDS)
        publisher.start()

    def _exchange_streams(self, settings: Settings) -> tuple[int, list[Pipeline]]:
        """How many streams were kept, and the pipelines that are to be started."""
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
            self._lost,
            self._told,
            stop,
            sequence=self._sequences.get(stream.name, 0),
        )

    def _end(self, names: list[str]) -> None:
        for name in names:
            self._stops.pop(name).set()
        # A camera that hangs holds its thread for some seconds more, which nobody waits for.
        deadline = time.monotonic() + _EXCHANGE_SECONDS
        for name in names:
            pipeline = self._pipelines.pop(name)
            if not pipeline.join(max(0.0, deadline - time.monotonic())):
                self._ending.append(pipeline)
            self._sequences[name] = pipeline.sequence
        self._ending = [pipeline for pipeline in self._ending if not pipeline.join(0)]

    def _exchange_agent(self, new: Settings) -> None:
        for pipeline in self._pipelines.values():
            pipeline.use(None)
        if self._loading is not None:
            self._loading.close()
        self.status.agent(False, "the model is being loaded")
        self._loading = ModelLoader(new, self._fitted, self._refused)
        self._loading.start()

    def _fitted(self, agent: AgentClient, fitting: ModelAdapter, settings: Settings) -> None:
        with self._lock:
            if self._loading is None or self._loading.agent is not agent:
                return
            self.status.agent(True)
            if self._settings is settings:
                self._before = None
            for pipeline in self._pipelines.values():
                pipeline.use(InferenceSetup(agent, fitting, settings))

    def _refused(self, problem: EdgeProblem, settings: Settings) -> None:
        """The agent does not take what settings want of it."""
        with self._lock:
            # Those that others have replaced meanwhile are nobody's any more, and the others are tried next.
            if self._closed or self._settings is not settings:
                return
            old, self._before = self._before, None
            if old is None:
                self._told(problem)
                return
            log.error("the new configuration does not work: %s; going back to the one before", problem)
            self.status.refused(str(problem))
            # When the old one does not work any more either, that ends the run.
            self._settings = dataclasses.replace(old)
            self._change(self._settings, None)

    def _lost(self) -> None:
        self.status.agent(False, "it has gone, or lost the model")
        loading = self._loading
        if loading is not None:
            loading.for_another_thread()

    def _emit(self, result: Result) -> None:
        if not self._began:
            self._began = True
            self._watcher.first_result()
        publisher = self._publisher
        if publisher is not None:
            publisher.put(result)

    def _announce(self, topic: str, payload: str, retain: bool) -> None:
        publisher = self._publisher
        if publisher is not None:
            publisher.announce(topic, payload, retain)

    def _status_changed(self) -> None:
        self._watcher.status_changed()

    def _picture(self, name: str) -> bytes | None:
        pipeline = self._pipelines.get(name)
        seen = pipeline.latest if pipeline else None
        return jpeg(seen.frame.image, seen.result.outcome) if seen else None


def _same_camera(one: Stream, other: Stream) -> bool:
    """Whether two settings of a stream differ in nothing but its rate."""
    return dataclasses.replace(one, every=other.every) == other
