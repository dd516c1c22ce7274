"""The component: pipelines, model and publisher, and how a new configuration is applied without a restart.

Only what changed is replaced: a stream with the same settings loses no frame, one with another rate keeps its camera,
one with other changes gets a new pipeline. New labels and thresholds are used from the next frame on. For another model
or agent, the old model is unloaded first, because both may not fit into memory; cameras stay open.

Either the new configuration runs whole, or the one before. What can be known to fail is tried before anything is
replaced. What fails later (the agent refuses the model, has no memory for it, or cannot be reached, though the one
before can) brings the configuration before back, with all of its parts: each is compared with what it should be, and
not with what was changed. A camera or a broker that cannot be reached is waited for; that is no fault of a
configuration.

Settings run only with the model that they were accepted with, by the content of its files. Where that one is gone, as
when a deployment has put another into its folder, they do not run any more: their results would name a version that the
model is not of.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

from emflow_edge.camera.reader import CameraReader
from emflow_edge.inference.agent_client import AgentClient, GaveUp
from emflow_edge.metrics.counters import Counters
from emflow_edge.metrics.latencies import StageLatencies
from emflow_edge.model_adapter import ModelAdapter
from emflow_edge.model_loader import ModelLoader, is_listening
from emflow_edge.model_spec import ModelSpec
from emflow_edge.observability.exposition import MetricsExporter
from emflow_edge.observability.logs import redact_urls
from emflow_edge.observability.overlay import jpeg
from emflow_edge.observability.reporter import Reporter
from emflow_edge.observability.status import CameraStatusListener, Status
from emflow_edge.pipeline import InferenceSetup, Pipeline
from emflow_edge.results.message import Result
from emflow_edge.results.publisher import Publisher
from emflow_edge.results.sequence import Sequences
from emflow_edge.results.sinks import MessageSink, OfflineMessages, offline_messages
from emflow_edge.settings.config import Settings
from emflow_schema.edge_config import Stream
from emflow_schema.errors import ConfigProblem, EdgeProblem

if TYPE_CHECKING:
    from emflow_edge.observability.http import MetricsServer

log = logging.getLogger(__name__)

# Together less than the five seconds in which the component has to end; Greengrass itself waits for fifteen.
_JOIN_SECONDS, _DRAIN_SECONDS = 1.5, 1.5
_REPLACE_SECONDS = 0.5
_LOAD_SECONDS = 4.0  # in total, when a load is in progress whose model has to be unloaded
# Seconds that a new configuration has without memory for its model, of which the one before may have freed some a
# moment ago, and without its agent, which may be starting, before the one before comes back.
_MEMORY_SECONDS, _AGENT_SECONDS = 5.0, 10.0

_TRY_AGAIN = "when that is mended, deploy the configuration again, or restart this component"

Secrets = Callable[[str], tuple[str, str]]
"""User and password of a secret, by its name; raises EdgeProblem. The second call for a name reads a newer version."""


@dataclass(frozen=True)
class _Parts:
    """What is new in a configuration, made and not started yet; what is None or missing stays as it is."""

    offline: OfflineMessages | None
    sink: MessageSink | None
    server: MetricsServer | None
    pipelines: dict[str, Pipeline]
    loader: ModelLoader | None


class Component:
    """A run: the pipelines, the agent that they share, the publisher, and the reporter.

    Args:
        thing: name of this device.
        make_sink: makes the sink for results; called again when the publish settings change.
        secrets: returns the credentials of cameras.
        on_end: called with the problem that ends the run; None when `limit` is reached.
        limit: end after so many published results; 0 means never.
        on_first_result: called once.
        applied: called with the settings that are in use from now on, also when those before come back; must not call
            this object.
        worked: called with settings, and in them the model that they were accepted with, when their first result was
            made; from a thread that must not be kept.
    """

    def __init__(
        self,
        thing: str,
        make_sink: Callable[[Settings], MessageSink],
        secrets: Secrets,
        on_end: Callable[[EdgeProblem | None], object],
        limit: int = 0,
        on_first_result: Callable[[], object] = lambda: None,
        applied: Callable[[Settings], object] = lambda _: None,
        worked: Callable[[Settings], object] = lambda _: None,
    ) -> None:
        self.counters, self.timings = Counters(), StageLatencies()
        self.status = Status(self._status_changed)
        self._thing, self._make_sink, self._secrets = thing, make_sink, secrets
        self._on_end, self._limit = on_end, limit
        self._applied, self._worked = applied, worked
        self._metrics = MetricsExporter(thing, "", self.counters, self.timings, self.status)
        self._reporter = Reporter(self._metrics, self.status, self._announce, self._annotated_jpeg, on_first_result)
        # One change at a time. Pipelines and publisher are replaced under this lock, and used without it.
        self._lock = threading.RLock()
        self._settings: Settings | None = None
        # The last settings that worked, kept until the current ones are known to work.
        self._before: Settings | None = None
        # The last settings that the model was found to fit, and the files of that model.
        self._accepted: tuple[Settings | None, str] = None, ""
        # Settings that were given up because the agent could not be used; they are tried again when it is lost.
        self._postponed: Settings | None = None
        self._connection_files: object = ()
        # The last settings that a result was made under.
        self._proven: Settings | None = None
        self._pipelines: dict[str, Pipeline] = {}
        # What each of them reads.
        self._cameras: dict[str, tuple[object, ...]] = {}
        self._ending: list[Pipeline] = []
        self._sequences = Sequences()
        self._publisher: Publisher | None = None
        self._model_loader: ModelLoader | None = None
        self._closed = self._has_result = False

    @property
    def settings(self) -> Settings | None:
        return self._settings

    def has_given_up(self, settings: object) -> bool:
        """Whether these are settings that could work now: the agent could not be used when they were tried."""
        return self._postponed is not None and self._postponed == settings

    def start(self, settings: Settings, before: Settings | None = None, refused: str = "") -> None:
        """Run with these settings.

        Args:
            before: those that worked before, which come back when the new ones fail.
            refused: why others, which were to be used, are not.

        Raises:
            EdgeProblem: the sink cannot be made.
        """
        self._reporter.start()
        self.status.set_configuration_refused(refused)
        with self._lock:
            self._before = before
            try:
                self._apply(settings, strict=False)
            except Exception as error:
                if before is None:
                    raise
                self._go_back(before, error)

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
            self._postponed = None
            if settings == self._settings:
                return
            self._try(settings)

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
            pipelines = [*self._pipelines.values(), *self._ending]
            for pipeline in pipelines:
                pipeline.stop()
            deadline = (begin := time.monotonic()) + _JOIN_SECONDS
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

    def _try(self, settings: Settings) -> None:
        """Apply settings in place of those that are in use, which stay when that fails."""
        current, before = self._settings, self._before
        old = self._with_its_model(current) if current is not None else None
        self._before = before or old
        try:
            self._apply(settings, strict=True)
        except Exception as error:
            self._before = before
            if old is not None and self._settings is not current:
                self._restore(old, error)
            raise

    def _restore(self, settings: Settings, error: Exception) -> None:
        """Apply settings again, after parts of others were applied. If that fails too, the run ends."""
        try:
            self._apply(dataclasses.replace(settings), strict=False)
        except Exception as other:
            log.error("the previous configuration does not work any more: %s", other)
            self._on_end(error if isinstance(error, EdgeProblem) else EdgeProblem(f"{type(error).__name__}: {error}"))

    def _apply(self, new: Settings, *, strict: bool) -> None:
        """Make all parts what the settings say.

        Args:
            strict: whether a metrics port that is not available is a reason to refuse the settings.

        Raises:
            EdgeProblem: a part cannot be made; nothing has changed.
            Exception: a part cannot be started; some have changed, and `settings` are the new ones.
        """
        with self._lock, ExitStack() as unused:
            parts = self._made(new, strict)
            unused.callback(self._discard, parts)
            old, self._settings = self._settings, new
            self._metrics.version = new.version
            if parts.loader is not None:
                self._remove_model()
            self._publish(new, parts)
            kept = self._replace_streams(new, parts.pipelines)
            if parts.loader is not None:
                parts.loader.start()
                self._model_loader = parts.loader
            elif self._model_loader is not None:
                self._model_loader.use_settings(new)
            self._reporter.configure(new.metrics, new.publish, parts.server)
            self._applied(new)
            unused.pop_all()
            if old is not None:
                log.info("configuration changed; %d of %d streams kept running", kept, len(new.streams))

    def _discard(self, parts: _Parts) -> None:
        """Close what was made and is not used."""
        self._reporter.close_unused(parts.server)
        if parts.loader is not None and parts.loader is not self._model_loader:
            parts.loader.close()

    def _made(self, new: Settings, strict: bool) -> _Parts:
        """Make what these settings need and what does not run yet.

        Raises:
            EdgeProblem: one of them cannot be made.
        """
        with ExitStack() as unused:
            server = self._server(new, strict)
            unused.callback(self._reporter.close_unused, server)
            offline = offline_messages(new.publish, self._thing, new.version)
            kept = self._publisher is not None and self._publisher.keeps_connection(new.publish, offline)
            kept = kept and self._connection_files == new.connection_files
            sink = None if kept else self._make_sink(new)
            pipelines = {stream.name: self._pipeline(stream) for stream in new.streams if self._is_new(stream, new)}
            loaded = self._model_loader is not None and self._model_loader.is_for(new)
            loader = None if loaded else ModelLoader(new, self._model_ready, self._model_refused, self._gives_up)
            unused.pop_all()
        return _Parts(offline, sink, server, pipelines, loader)

    def _server(self, new: Settings, strict: bool) -> MetricsServer | None:
        try:
            return self._reporter.open_server(new.metrics)
        except ConfigProblem as problem:
            if strict and self._settings is not None and self._settings.metrics.port != new.metrics.port:
                raise
            # At the start, on the way back, and for a port that was not available before, it is not worth the results.
            log.error("%s", problem)
            return None

    def _publish(self, new: Settings, parts: _Parts) -> None:
        self._connection_files = new.connection_files
        if self._publisher is not None:
            self._publisher.use_settings(new.publish, parts.offline, parts.sink)
            return
        assert parts.sink is not None  # there was none that could be kept
        self._publisher = Publisher(
            parts.sink,
            new.publish,
            self.counters,
            self.timings,
            self._on_end,
            lambda why: self.status.set_publisher(not why, why),
            self._limit,
            offline_messages=parts.offline,
        )
        self._publisher.start()

    def _is_new(self, stream: Stream, new: Settings) -> bool:
        return stream.name not in self._pipelines or self._cameras[stream.name] != new.camera(stream)

    def _replace_streams(self, new: Settings, fresh: dict[str, Pipeline]) -> int:
        """End the streams that are not in the settings as they are, and start new ones; how many were kept."""
        wanted = {stream.name: stream for stream in new.streams}
        self._end([name for name in self._pipelines if name not in wanted or name in fresh])
        for name, pipeline in self._pipelines.items():
            if pipeline.stream != wanted[name]:
                pipeline.change_rate(wanted[name])
        self.status.set_streams(tuple(wanted), replaced=fresh)
        for name, pipeline in fresh.items():
            stream = wanted[name]
            log.info("stream %s: %s, %s", name, stream.shown, stream.pace, extra={"stream": name})
            self._pipelines[name], self._cameras[name] = pipeline, new.camera(stream)
            try:
                pipeline.start()
            except BaseException:
                # Of its threads some may have been started.
                self._end([name])
                raise
        for pipeline in self._pipelines.values():
            pipeline.keep_latest(bool(new.metrics.port))
        return len(wanted) - len(fresh)

    def _pipeline(self, stream: Stream) -> Pipeline:
        stop = threading.Event()
        counters = self.counters.for_stream(stream.name)
        camera = CameraReader(
            stream, counters, stop, CameraStatusListener(self.status, stream.name, stop), self._secrets
        )
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
            self._sequences.of(stream.name),
            self._sequences.run,
        )

    def _end(self, names: list[str]) -> None:
        for name in names:
            self._pipelines[name].stop()
        # A camera that hangs keeps its thread for some more seconds; do not wait for it.
        deadline = time.monotonic() + _REPLACE_SECONDS
        for name in names:
            pipeline = self._pipelines.pop(name)
            del self._cameras[name]
            if not pipeline.join(max(0.0, deadline - time.monotonic())):
                self._ending.append(pipeline)
        self._ending = [pipeline for pipeline in self._ending if not pipeline.join(0)]

    def _remove_model(self) -> None:
        for pipeline in self._pipelines.values():
            pipeline.use_setup(None)
        if self._model_loader is not None:
            self._model_loader.close()
            self._model_loader = None
        self.status.set_agent(False, "the model is being loaded")

    def _model_ready(self, agent: AgentClient, adapter: ModelAdapter, settings: Settings) -> None:
        with self._lock:
            if self._closed or self._model_loader is None or self._model_loader.agent is not agent:
                return
            gone = self._model_is_gone(settings, agent, adapter.model)
            if gone is not None:
                self._model_refused(gone, settings)
                return
            self.status.set_agent(True)
            if self._settings is settings:
                self._before = None
                self._accepted = settings, agent.files_of(adapter.model)
            for pipeline in self._pipelines.values():
                pipeline.use_setup(InferenceSetup(agent, adapter, settings))

    def _with_its_model(self, settings: Settings) -> Settings:
        """Settings that name the model that they were accepted with, if they were."""
        accepted, files = self._accepted
        return dataclasses.replace(settings, accepted_with=files) if settings is accepted else settings

    def _model_is_gone(self, settings: Settings, agent: AgentClient, loaded: ModelSpec) -> EdgeProblem | None:
        """What is wrong where these settings were accepted with another model than the loaded one."""
        if self._with_its_model(settings).accepted_with in ("", agent.files_of(loaded)):
            return None
        for pipeline in self._pipelines.values():
            pipeline.use_setup(None)
        return EdgeProblem(
            f"model {settings.model_name}: {settings.model_folder} has another one now than version {settings.version} "
            "ran with, which does not run with it; deploy a configuration for it, or the model before"
        )

    def _gives_up(self, seconds: float, no_memory: bool) -> bool:
        """Whether the configuration before is better than to go on waiting for the agent of the new one."""
        before, now = self._before, self._settings
        if self._postponed is not None and now is not None:
            return seconds >= _AGENT_SECONDS and not is_listening(now.agent_socket)
        if before is None or now is None or before.model == now.model:
            return False
        if before.agent != now.agent:
            # Where the agent before is gone, as when it gets another socket, it is this one that is starting.
            return seconds >= _AGENT_SECONDS and is_listening(before.agent_socket)
        return no_memory and seconds >= _MEMORY_SECONDS

    def _model_refused(self, problem: EdgeProblem, settings: Settings) -> None:
        """The agent cannot load the model of these settings, or they do not fit it."""
        with self._lock:
            # Newer settings have replaced these in the meantime, and are tried next.
            if self._closed or self._settings is not settings:
                return
            agent = self._model_loader.agent if self._model_loader is not None else None
            if agent is not None and agent.loaded_model is not None:
                problem = self._model_is_gone(settings, agent, agent.loaded_model) or problem
            (old, self._before), (again, self._postponed) = (self._before, None), (self._postponed, None)
            waited = isinstance(problem, GaveUp)
            if again is not None and waited:
                log.warning("%s; trying the configuration again that was given up", problem)
                self.status.set_configuration_refused("")
                self._before = self._with_its_model(settings)
                self._restore(again, problem)
            elif old is None:
                self._on_end(problem)
            else:
                self._postponed = settings if waited else None
                self._go_back(old, EdgeProblem(f"{problem}; {_TRY_AGAIN}") if waited else problem)

    def _go_back(self, old: Settings, error: Exception) -> None:
        """Restore settings that worked. If they do not work any more either, the run ends."""
        log.error(
            "the new configuration does not work: %s; going back to the previous one (version %s)", error, old.version
        )
        self.status.set_configuration_refused(redact_urls(str(error)))
        self._before = None
        self._restore(old, error)

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
        if result.settings is not None and result.settings is not self._proven and result.settings is self._settings:
            self._proven = result.settings
            self._worked(self._with_its_model(result.settings))

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
