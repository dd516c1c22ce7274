"""`emflow-edge`: from the command line or a Greengrass deployment to a running component, and to a clean end.

Exit codes, and how Greengrass reacts. It restarts a component that ends with an error at once; after the third error
within an hour it stops restarting until the next deployment, and a running deployment fails.

| code | reason | does a restart help? | | --- | --- | --- | | 0 | SIGTERM or SIGINT, or the requested number of results
was published | no restart | | 1 | the agent refuses the model, a package is missing, the nucleus refuses the component,
or an unexpected error | maybe | | 2 | the configuration or the command line is wrong | no: the deployment fails, with
the reason in the log |

Temporary problems never end it: it waits for a camera, agent, broker or nucleus that cannot be reached, and for free
memory in the agent. A new configuration that is invalid or does not work does not end it either: the previous one stays
in use, or comes back; with a work folder (`--work`) also the one that worked in a process before. One whose model is
gone does not come back: exit code 1.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import logging
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from emflow_edge.credentials import FileSecrets, NucleusSecrets
from emflow_edge.ipc import CLASSIC_VARIABLE, ERRORED, RUNNING, SOCKET_VARIABLE, Nucleus
from emflow_edge.observability import logs
from emflow_edge.results.mqtt import mqtt_sink
from emflow_edge.results.sinks import Destination, GreengrassSink, MessageSink, StdoutSink, destination
from emflow_edge.settings.config import Settings, settings, unknown_keys
from emflow_edge.settings.flags import overlay, parse
from emflow_edge.settings.last_working import LastWorking, WorkingConfiguration, digest
from emflow_schema import values
from emflow_schema.errors import ConfigProblem, EdgeProblem
from emflow_schema.installation import how_to_install
from emflow_schema.signals import Signals

if TYPE_CHECKING:
    import argparse

    from emflow_edge.component import Component

log = logging.getLogger("emflow_edge")

_SHUTDOWN_SECONDS = 4.5
# malloc.h of glibc; other C libraries have no mallopt, or ignore it.
_M_MMAP_THRESHOLD, _FRAME_BYTES = -3, 1 << 20
_RELOAD, _ARRIVED = object(), object()
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
Event = Union[Optional[EdgeProblem], object]
"""Ends the run: a problem, or None for a normal end. `_RELOAD`: read the configuration again.
`_ARRIVED`: another one came. Settings: they work."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal or an error; returns the exit code."""
    flags = parse(arguments)
    # A stop signal before anything runs ends the process; SIGHUP has nothing to reload yet.
    signals = Signals(_SIGNALS, lambda number: None if number == signal.SIGHUP else _exit(0))
    try:
        return run(flags, signals)
    except EdgeProblem as problem:
        logs.report_exit(str(problem))
        return problem.exit_code
    except ImportError as error:
        logs.report_exit(f"{error}; install what it needs (extra edge): {how_to_install('emflow-device', 'edge')}")
        return 1


def run(flags: argparse.Namespace, signals: Signals) -> int:
    """Read and check the configuration, then run until the end; returns the exit code.

    Raises:
        EdgeProblem: it cannot run, or a permanent problem ended it.
    """
    in_greengrass = bool(os.environ.get(SOCKET_VARIABLE))
    where = flags.publish or ("greengrass" if in_greengrass else "stdout")
    to = destination(where, flags.cert, flags.key, flags.ca, os.environ)
    if to.kind == "greengrass" and not in_greengrass:
        raise ConfigProblem("--publish: greengrass is possible only in a component that Greengrass started")
    sink = sys.stderr if to.kind == "stdout" else sys.stdout
    logs.configure_logging(sink)
    nucleus = Nucleus() if in_greengrass else None
    try:
        run = _Run(flags, to, nucleus, signals)
        wanted, refused = run.first()
        logs.configure_logging(sink, wanted.log.format, wanted.log.level)
        return run.serve(wanted, refused, lambda new: logs.configure_logging(sink, new.log.format, new.log.level))
    except EdgeProblem:
        if nucleus:
            nucleus.report(ERRORED)
        raise
    finally:
        if nucleus:
            nucleus.close()


class _Run:
    """One run of the component, with its configuration and its end."""

    def __init__(self, flags: argparse.Namespace, to: Destination, nucleus: Nucleus | None, signals: Signals) -> None:
        self._flags, self._to, self._nucleus, self._signals = flags, to, nucleus, signals
        self._thing = flags.thing or os.environ.get("AWS_IOT_THING_NAME") or socket.gethostname()
        try:
            values.text(self._thing)
        except values.Unfit as error:
            raise ConfigProblem(f"--thing: {error}") from None
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._unknown: tuple[str, ...] = ()
        self._last_working = LastWorking(flags.work)
        # The configuration that came last, and what it came to: settings, or why it was refused.
        self._came: tuple[Mapping[str, Any], Settings | str] | None = None
        # The digest of the current configuration, if it arrived while a component ran: its deployment is over.
        self._arrived = ""
        signals.heard = lambda number: self._events.put(_RELOAD) if number == signal.SIGHUP else _exit(0)

    def read(self) -> Settings:
        """The current settings.

        Raises:
            EdgeProblem: they cannot be read, or are invalid.
        """
        if self._flags.config:
            return self._settings(_read(self._flags.config))
        return self._settings(self._nucleus.first_configuration() if self._nucleus else {})

    def first(self) -> tuple[Settings, str]:
        """The settings to begin with, and why they are not the current ones: empty when they are.

        Raises:
            EdgeProblem: those cannot be read or are invalid, and none are known that worked.
        """
        try:
            return self.read(), ""
        except ConfigProblem as problem:
            before = self._before()
            if before is None:
                raise
            log.error(
                "the configuration is refused: %s; going on with the last one that worked (version %s)",
                *(problem, before.version),
            )
            return before, logs.redact_urls(str(problem))

    def _before(self) -> Settings | None:
        """The settings of the last configuration that worked, for a process that starts; None where there are none, or
        they are invalid by now, or the classic nucleus has to see that the current one does not work."""
        held = self._last_working.read()
        if held is None:
            return None
        if self._came is not None and held.arrived == digest(self._came[0]):
            self._arrived = held.arrived
        elif os.environ.get(CLASSIC_VARIABLE):
            # It takes a deployment back whose component does not start. One that has changed a running component is
            # over, and would be taken back by nobody.
            return None
        try:
            before = self._checked(held.configuration)
        except EdgeProblem as problem:
            log.warning("the last configuration that worked is not valid any more: %s", problem)
            return None
        lines = before.label_lines if held.label_lines is None else held.label_lines
        return dataclasses.replace(before, label_lines=lines, accepted_with=held.model)

    def serve(self, wanted: Settings, refused: str, logged: Callable[[Settings], object]) -> int:
        _return_frame_memory()
        # Imported late: OpenCV and gRPC take a quarter of a second, and a wrong configuration is reported without them.
        from emflow_edge.component import Component

        self._signals.heard = lambda number: self._events.put(_RELOAD if number == signal.SIGHUP else None)
        threading.excepthook = lambda failure: self._events.put(_unexpected(failure))

        nucleus = self._nucleus
        secrets = NucleusSecrets(nucleus) if nucleus else FileSecrets(self._flags.secrets)
        on_first_result: Callable[[], object] = (lambda: nucleus.report(RUNNING)) if nucleus else (lambda: None)
        component = Component(
            self._thing,
            self._make_sink,
            secrets,
            self._events.put,
            self._flags.results,
            on_first_result,
            applied=logged,
            worked=self._events.put,
        )

        def changed(read: Callable[[], Settings]) -> None:
            before = self._came
            try:
                component.change(read())
                self._warn_about_unknown_keys()
            except Exception as error:
                why = _reason(error)
                log.error("the new configuration is refused: %s; the previous one stays in use", why)
                component.status.set_configuration_refused(logs.redact_urls(why))
            if self._came is not before:
                self._events.put(_ARRIVED)

        def configuration_changed(config: Mapping[str, Any]) -> None:
            # After a reconnect, the nucleus sends the same configuration again, also one that was refused. It counts
            # only where the files that it names have changed, or where it was given up for want of an agent or memory.
            before = self._came
            try:
                self._settings(config)
            except Exception:
                log.debug("the configuration is refused", exc_info=True)
            if self._came != before or (self._came is not None and component.has_given_up(self._came[1])):
                changed(lambda: self._settings(config))

        self._warn_about_unknown_keys()
        before = None if refused else self._before()
        component.start(wanted, before if before != wanted else None, refused)
        if nucleus and not self._flags.config:
            # In a thread: a nucleus that hangs must not block the shutdown.
            callbacks = configuration_changed, lambda config: self._check(component, config)
            threading.Thread(
                target=nucleus.follow_configuration, args=callbacks, name="subscribing", daemon=True
            ).start()
        while True:
            event = self._events.get()
            if isinstance(event, Settings):
                working = WorkingConfiguration(event.source, event.label_lines, event.accepted_with, self._arrived)
                self._last_working.save(working)
            elif event is _ARRIVED and self._came is not None:
                self._arrived = digest(self._came[0])
                if (held := self._last_working.held) is not None:
                    self._last_working.save(dataclasses.replace(held, arrived=self._arrived))
            elif event is _RELOAD:
                changed(self.read)
            else:
                return self._end(component, event)

    def _settings(self, config: Mapping[str, Any]) -> Settings:
        try:
            read = self._checked(config)
        except Exception as error:
            self._came = config, str(error)
            raise
        self._came = config, read
        self._unknown = unknown_keys(config)
        return read

    def _checked(self, config: Mapping[str, Any]) -> Settings:
        flags, files = self._flags, (self._to.cert, self._to.key, self._to.ca)
        found = settings(
            overlay(config, flags), flags.assets, self._thing, [file for file in files if file is not None]
        )
        # As it came, for the next process, whose command line may be another one.
        return dataclasses.replace(found, source=config)

    def _warn_about_unknown_keys(self) -> None:
        # Called after the log is configured.
        for key in self._unknown:
            log.warning("configuration: %s is not a known key", key)

    def _check(self, component: Component, config: Mapping[str, Any]) -> str:
        """Check a configuration before it is deployed; the problem, or an empty text."""
        try:
            component.check(self._checked(config))
        except Exception as error:
            return logs.redact_urls(_reason(error))
        return ""

    def _make_sink(self, wanted: Settings) -> MessageSink:
        if self._nucleus and self._to.kind == "greengrass":
            return GreengrassSink(self._nucleus)
        return mqtt_sink(self._to, self._thing, wanted.publish) if self._to.kind == "mqtt" else StdoutSink()

    def _end(self, component: Component, event: Event) -> int:
        """Shut down; returns the exit code."""
        problem = event if isinstance(event, EdgeProblem) else None
        code = problem.exit_code if problem else 0
        # A component has to end within five seconds, even if something hangs.
        last = threading.Timer(_SHUTDOWN_SECONDS, _exit, (code,))
        last.daemon = True
        last.start()
        if problem and self._nucleus:
            self._nucleus.report(ERRORED)
        clean = component.close()
        if problem:
            logs.report_exit(str(problem))
        if not clean:
            # A camera or broker that hangs keeps a thread inside a library; the normal shutdown of the interpreter
            # could crash there.
            _exit(code)
        last.cancel()
        return code


def _exit(code: int) -> None:
    # The reader of the output may be gone; that must not prevent the end.
    with contextlib.suppress(OSError, ValueError):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _return_frame_memory() -> None:
    """Make glibc return the memory of frames to the system as soon as it is freed.

    glibc raises this threshold to the largest block that was ever freed, up to 32 MiB, and keeps smaller blocks in a
    pool for each thread: about 15 MiB with a 1080p camera. Setting the threshold disables that.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _FRAME_BYTES)


def _read(path: Any) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigProblem(f"--config: {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigProblem(f"--config: {path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ConfigProblem(f"--config: {path} must hold a JSON object")
    return config


def _reason(error: Exception) -> str:
    """Why a configuration is refused; unexpected errors do not end the run either."""
    if isinstance(error, EdgeProblem):
        return str(error)
    log.debug("unexpected error", exc_info=error)
    return f"unexpected error: {type(error).__name__}: {error}"


def _unexpected(failure: threading.ExceptHookArgs) -> EdgeProblem:
    log.debug("unexpected error", exc_info=failure.exc_value)
    name = failure.thread.name if failure.thread else "a thread"
    return EdgeProblem(f"unexpected error in {name}: {failure.exc_type.__name__}: {failure.exc_value}")


if __name__ == "__main__":
    sys.exit(main())
