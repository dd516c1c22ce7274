"""`emflow-edge`: from the command line or a Greengrass deployment to a running component, and to a clean end.

Exit codes, and what Greengrass makes of them. It starts a component that ended with an error again at once, and gives
it up the third time within an hour, until the next deployment; a deployment under way counts as failed then.

| code | why | starting it again |
| --- | --- | --- |
| 0 | it was told to end (SIGTERM, SIGINT), or made as many results as it was asked for | is not done |
| 1 | the agent refuses the model, a package is missing, the nucleus keeps it out, or something unforeseen | may help |
| 2 | configuration or command line is wrong | does not help: the deployment fails, with the reason in the log |

What passes by itself never ends it: a camera, an agent, a broker or a nucleus that is away is waited for, and so is
memory in the agent. A new configuration that is wrong does not end it either: the old one stays.
"""

from __future__ import annotations

import contextlib
import ctypes
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
from emflow_edge.ipc import ERRORED, RUNNING, SOCKET_VARIABLE, Nucleus
from emflow_edge.observability import logs
from emflow_edge.results.mqtt import mqtt_sink
from emflow_edge.results.sinks import Destination, GreengrassSink, MessageSink, StdoutSink, destination
from emflow_edge.settings.config import Settings, settings, unknown_keys
from emflow_edge.settings.flags import overlay, parse
from emflow_schema import values
from emflow_schema.errors import ConfigProblem, EdgeProblem
from emflow_schema.installation import how_to_install
from emflow_schema.signals import Signals

if TYPE_CHECKING:
    import argparse

    from emflow_edge.component import Component

log = logging.getLogger("emflow_edge")

_GONE_SECONDS = 4.5
# malloc.h of glibc; other C libraries have no mallopt, or none that heeds it.
_M_MMAP_THRESHOLD, _FRAME_BYTES = -3, 1 << 20
_RELOAD = object()
_HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
Told = Union[Optional[EdgeProblem], object]
"""Why the run ends: None when it was asked to, or did what it was asked for. `_RELOAD`: read the configuration again.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop; the exit code."""
    flags = parse(arguments)
    # Asked to stop before there is anything to take down. Nothing is read yet that might have to be read again.
    signals = Signals(_HEARD, lambda number: None if number == signal.SIGHUP else _go(0))
    try:
        return run(flags, signals)
    except EdgeProblem as problem:
        logs.report_exit(str(problem))
        return problem.exit_code
    except ImportError as error:
        logs.report_exit(f"{error}; install what it needs (extra edge): {how_to_install('emflow-device', 'edge')}")
        return 1


def run(flags: argparse.Namespace, signals: Signals) -> int:
    """Read the configuration, check it, run; `signals` are told to whatever there is to end.

    Raises:
        EdgeProblem: it cannot be run, or something ended it that trying again does not mend.
    """
    in_greengrass = bool(os.environ.get(SOCKET_VARIABLE))
    where = flags.publish or ("greengrass" if in_greengrass else "stdout")
    to = destination(where, flags.cert, flags.key, flags.ca, os.environ)
    if to.kind == "greengrass" and not in_greengrass:
        raise ConfigProblem("--publish: greengrass works only in a component that Greengrass started")
    sink = sys.stderr if to.kind == "stdout" else sys.stdout
    logs.configure_logging(sink)
    nucleus = Nucleus() if in_greengrass else None
    try:
        run = _Run(flags, to, nucleus, signals)
        wanted = run.read()
        logs.configure_logging(sink, wanted.log.format, wanted.log.level)
        return run.serve(wanted, lambda new: logs.configure_logging(sink, new.log.format, new.log.level))
    except EdgeProblem:
        if nucleus:
            nucleus.report(ERRORED)
        raise
    finally:
        if nucleus:
            nucleus.close()


class _Run:
    """One run: where its configuration comes from, and what becomes of it."""

    def __init__(self, flags: argparse.Namespace, to: Destination, nucleus: Nucleus | None, signals: Signals) -> None:
        self._flags, self._to, self._nucleus, self._signals = flags, to, nucleus, signals
        self._thing = flags.thing or os.environ.get("AWS_IOT_THING_NAME") or socket.gethostname()
        try:
            values.text(self._thing)
        except values.Unfit as error:
            raise ConfigProblem(f"--thing: {error}") from None
        self._told: queue.SimpleQueue[Told] = queue.SimpleQueue()
        self._unknown: tuple[str, ...] = ()
        self._heard: Mapping[str, Any] | None = None
        signals.heard = lambda number: self._told.put(_RELOAD) if number == signal.SIGHUP else _go(0)

    def read(self) -> Settings:
        """The settings as they are now.

        Raises:
            EdgeProblem: they cannot be read, or are wrong.
        """
        if self._flags.config:
            return self._settings(_read(self._flags.config))
        return self._settings(self._nucleus.first_configuration() if self._nucleus else {})

    def serve(self, wanted: Settings, logged: Callable[[Settings], object]) -> int:
        _give_back_frames()
        # Only now: OpenCV and gRPC take a quarter of a second, which a mistake in the configuration need not wait for.
        from emflow_edge.component import Component

        self._signals.heard = lambda number: self._told.put(_RELOAD if number == signal.SIGHUP else None)
        threading.excepthook = lambda failure: self._told.put(_unexpected(failure))

        nucleus = self._nucleus
        secrets = NucleusSecrets(nucleus) if nucleus else FileSecrets(self._flags.secrets)
        began: Callable[[], object] = (lambda: nucleus.report(RUNNING)) if nucleus else (lambda: None)
        component = Component(self._thing, self._outlet, secrets, self._told.put, self._flags.results, began)

        def changed(read: Callable[[], Settings]) -> None:
            try:
                new = read()
                component.change(new)
                logged(new)
                self._tell_unknown()
            except Exception as error:
                why = _why(error)
                log.error("the new configuration is refused: %s; going on with the one from before", why)
                component.status.refused(logs.redact_urls(why))

        def heard(config: Mapping[str, Any]) -> None:
            # A nucleus that comes back tells what it told before, also what was refused then.
            if config != self._heard:
                self._heard = config
                changed(lambda: self._settings(config))

        self._tell_unknown()
        component.start(wanted)
        if nucleus and not self._flags.config:
            # In a thread: a nucleus that hangs must not keep this one from hearing that it has to end.
            hear = heard, lambda config: self._judge(component, config)
            threading.Thread(target=nucleus.watch, args=hear, name="subscribing", daemon=True).start()
        while True:
            told = self._told.get()
            if told is not _RELOAD:
                break
            changed(self.read)
        return self._end(component, told)

    def _settings(self, config: Mapping[str, Any]) -> Settings:
        read = settings(overlay(config, self._flags), self._flags.assets, self._thing)
        self._unknown = unknown_keys(config)
        return read

    def _tell_unknown(self) -> None:
        # When the log is set up as the configuration wants it.
        for key in self._unknown:
            log.warning("configuration: %s means nothing here", key)

    def _judge(self, component: Component, config: Mapping[str, Any]) -> str:
        """What is wrong with a configuration that is about to be deployed; empty when nothing is."""
        try:
            component.check(settings(overlay(config, self._flags), self._flags.assets, self._thing))
        except Exception as error:
            return logs.redact_urls(_why(error))
        return ""

    def _outlet(self, wanted: Settings) -> MessageSink:
        if self._nucleus and self._to.kind == "greengrass":
            return GreengrassSink(self._nucleus)
        return mqtt_sink(self._to, self._thing, wanted.publish) if self._to.kind == "mqtt" else StdoutSink()

    def _end(self, component: Component, told: Told) -> int:
        """Take everything down; the exit code."""
        problem = told if isinstance(told, EdgeProblem) else None
        code = problem.exit_code if problem else 0
        # Whatever hangs, and whoever holds what is needed here: a component has to be gone in five seconds.
        last = threading.Timer(_GONE_SECONDS, _go, (code,))
        last.daemon = True
        last.start()
        if problem and self._nucleus:
            self._nucleus.report(ERRORED)
        clean = component.close()
        if problem:
            logs.report_exit(str(problem))
        if not clean:
            # A camera or a broker that hangs holds its thread inside a library, where the interpreter's own way out
            # would trip over it.
            _go(code)
        last.cancel()
        return code


def _go(code: int) -> None:
    # Whoever read what is said may have gone, which is no reason to stay.
    with contextlib.suppress(OSError, ValueError):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _give_back_frames() -> None:
    """Let memory of a frame's size go back to the system as soon as it is free.

    glibc raises the size from which it does so to that of the largest block that was ever freed, up to 32 MiB, and
    keeps smaller ones in a pool for each thread: some 15 MiB with a 1080p camera. Setting the size ends that.
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
        raise ConfigProblem(f"--config: {path} has to hold an object")
    return config


def _why(error: Exception) -> str:
    """Why a configuration is not taken; what nobody foresaw is no reason to end either."""
    if isinstance(error, EdgeProblem):
        return str(error)
    log.debug("unexpected", exc_info=error)
    return f"unexpected: {type(error).__name__}: {error}"


def _unexpected(failure: threading.ExceptHookArgs) -> EdgeProblem:
    log.debug("unexpected", exc_info=failure.exc_value)
    name = failure.thread.name if failure.thread else "a thread"
    return EdgeProblem(f"unexpected in {name}: {failure.exc_type.__name__}: {failure.exc_value}")


if __name__ == "__main__":
    sys.exit(main())
