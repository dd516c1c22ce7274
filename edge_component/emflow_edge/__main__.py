"""`emflow-edge`: from the command line or a Greengrass deployment to running pipelines, and to a clean end."""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional

from emflow_edge.ipc import SOCKET_VARIABLE, Nucleus
from emflow_edge.problems import ConfigProblem, EdgeProblem
from emflow_edge.results.outlets import Destination, GreengrassOutlet, MqttOutlet, Outlet, StdoutOutlet, destination
from emflow_edge.settings import fields
from emflow_edge.settings.config import Settings, settings, unknown_keys
from emflow_edge.settings.flags import overlay, parse

if TYPE_CHECKING:
    import argparse

log = logging.getLogger("emflow_edge")

_REPORT_SECONDS = 60.0
# Together under the five seconds in which a component has to be gone; Greengrass itself would wait for fifteen.
_JOIN_SECONDS, _DRAIN_SECONDS = 1.5, 1.5

Told = Optional[EdgeProblem]
"""Why the run ends: None when it was asked to, or did what it was asked for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop; the exit code."""
    flags = parse(arguments)
    # Asked to stop before there is anything to take down.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        return run(flags)
    except EdgeProblem as problem:
        sys.stderr.write(f"emflow-edge: {problem}\n")
        return problem.exit_code
    except ImportError as error:
        sys.stderr.write(f"emflow-edge: {error}; install what it needs with: pip install 'emflow[device]'\n")
        return 1


def run(flags: argparse.Namespace) -> int:
    """Read the configuration, check it, run.

    Raises:
        EdgeProblem: it cannot be run, or something ended it that trying again does not mend.
    """
    in_greengrass = bool(os.environ.get(SOCKET_VARIABLE))
    to = destination(flags.publish or ("greengrass" if in_greengrass else "stdout"), flags.cert, flags.key, flags.ca)
    if to.kind == "greengrass" and not in_greengrass:
        raise ConfigProblem("--publish: greengrass works only in a component that Greengrass started")
    _log_to(sys.stderr if to.kind == "stdout" else sys.stdout)
    nucleus = Nucleus() if in_greengrass and (to.kind == "greengrass" or not flags.config) else None
    config = _read(flags.config) if flags.config else (nucleus.configuration() if nucleus else {})
    wanted = settings(overlay(config, flags), flags.assets)
    for key in unknown_keys(config):
        log.warning("configuration: %s means nothing here", key)
    named = {"--thing": flags.thing or os.environ.get("AWS_IOT_THING_NAME") or socket.gethostname()}
    thing = fields.text(named, "--thing")
    return _serve(wanted, thing, _outlet(to, nucleus, wanted, thing), flags.results)


def _serve(wanted: Settings, thing: str, outlet: Outlet, limit: int) -> int:
    # Only now: OpenCV and gRPC take a quarter of a second, which a mistake in the configuration need not wait for.
    from emflow_edge.camera.source import Camera
    from emflow_edge.counters import Counters
    from emflow_edge.inference.agent_client import Agent
    from emflow_edge.pipeline import Pipeline
    from emflow_edge.results.publish import Publisher

    # A SimpleQueue, because a signal handler may interrupt whoever holds the lock of an Event, but not this.
    told: queue.SimpleQueue[Told] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.put(None))
    threading.excepthook = lambda failure: told.put(_unexpected(failure))

    for stream in wanted.streams:
        log.info(
            "stream %s: %s, every %g s, results to %s", stream.name, stream.shown, stream.every, wanted.publish.topic
        )
    if wanted.capture:
        log.warning("captureData is True, but this version does not capture yet; results are published all the same")
    stop, counters = threading.Event(), Counters()
    agent = Agent(wanted.agent_socket, wanted.model_name, wanted.model_folder, stop)
    publisher = Publisher(outlet, counters, told.put, limit)
    pipelines = [
        Pipeline(stream, Camera(stream, counters, stop), wanted, thing, agent, counters, publisher.put, told.put, stop)
        for stream in wanted.streams
    ]
    publisher.start()
    for pipeline in pipelines:
        pipeline.start()

    threading.Thread(target=_report, args=(counters, stop), name="report", daemon=True).start()

    problem = told.get()
    stop.set()
    deadline = time.monotonic() + _JOIN_SECONDS
    ended = [pipeline.join(max(0.0, deadline - time.monotonic())) for pipeline in pipelines]
    agent.close()
    ended.append(publisher.close(_DRAIN_SECONDS))
    log.info("ended: %s", counters)
    if problem:
        sys.stderr.write(f"emflow-edge: {problem}\n")
    code = problem.exit_code if problem else 0
    if not all(ended):
        # A camera or a broker that hangs holds its thread inside a library, where the interpreter's own way out would
        # trip over it.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _report(counters: object, stop: threading.Event) -> None:
    while not stop.wait(_REPORT_SECONDS):
        log.info("so far: %s", counters)


def _outlet(to: Destination, nucleus: Nucleus | None, wanted: Settings, thing: str) -> Outlet:
    if nucleus and to.kind != "greengrass":
        nucleus.close()
    if nucleus and to.kind == "greengrass":
        return GreengrassOutlet(nucleus, wanted.publish.topic, wanted.publish.qos)
    if to.kind == "mqtt":
        return MqttOutlet(to, thing, wanted.publish.topic, wanted.publish.qos)
    return StdoutOutlet()


def _read(path: Any) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigProblem(f"--config: {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigProblem(f"--config: {path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ConfigProblem(f"--config: {path} has to hold an object")
    return config


def _unexpected(failure: threading.ExceptHookArgs) -> EdgeProblem:
    log.debug("unexpected", exc_info=failure.exc_value)
    name = failure.thread.name if failure.thread else "a thread"
    return EdgeProblem(f"unexpected in {name}: {failure.exc_type.__name__}: {failure.exc_value}")


def _log_to(stream: Any) -> None:
    logging.addLevelName(logging.WARNING, "WARN")
    # Libraries say what goes wrong, not what they do: awsiotsdk would tell every connection.
    logging.basicConfig(stream=stream, level=logging.WARNING, format="%(asctime)s [%(levelname)s] %(message)s")
    log.setLevel(logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
