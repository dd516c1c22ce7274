"""The `emflow-agent` command: reads the command line, serves until it is told to end."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

DEFAULT_SOCKET = "/tmp/aws.greengrass.SageMakerEdgeManager.sock"  # noqa: S108  the path that existing clients know
ENDINGS = (signal.SIGTERM, signal.SIGINT)
GRACE = 5.0  # seconds that calls under way get when the agent is told to end

log = logging.getLogger("emflow_agent")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="emflow-agent",
        description="Loads models and runs them for the applications of this device, over gRPC on a Unix socket. "
        "Clients made for the SageMaker Edge Manager agent work unchanged.",
        epilog="Ends on SIGTERM and SIGINT after the calls under way. Exit codes: 0 ended when told to, 1 could not "
        "serve, 2 the command line is wrong.",
    )
    made.add_argument("--socket", type=Path, default=DEFAULT_SOCKET, metavar="PATH", help="default: %(default)s")
    made.add_argument("--fleet", default="", metavar="NAME", help="device fleet that this device belongs to")
    made.add_argument(
        "--threads",
        type=_positive,
        default=_processors(),
        metavar="N",
        help="CPU threads for one inference (default: as many as it may use processors, at most 4; here %(default)s)",
    )
    made.add_argument(
        "--clean-stale-socket",
        action="store_true",
        help="remove a socket that is left from before; one that is served is never touched",
    )
    made.add_argument(
        "--no-trial",
        dest="trial",
        action="store_false",
        help="do not run a model in a process of its own before it is loaded: loads sooner, and a file that crashes "
        "the runtime ends the agent",
    )
    made.add_argument(
        "--verbose",
        type=_boolean,
        nargs="?",
        const=True,
        default=False,
        metavar="true|false",
        help="log every refused call and more (default: false)",
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    _log_to_stdout(options.verbose)
    # Blocked here, and so in every thread that is made from now on, and taken by sigwait below: a Python handler would
    # wait for the main thread to wake up, which a signal that the kernel gives to another thread does not make it do.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    try:
        # gRPC and protobuf only now: `--help` is quick, and a missing package is a line to read.
        from emflow_agent.problems import CannotStart
        from emflow_agent.runtimes import RUNTIMES
        from emflow_agent.server import serving
        from emflow_agent.service import AgentService
        from emflow_agent.store import ModelStore
    except ImportError as error:
        return _fail(f"{error}; install what the agent needs with: pip install 'emflow[agent]'")
    missing = [reason for reason in (runtime.available() for runtime in RUNTIMES) if reason]
    if len(missing) == len(RUNTIMES):
        return _fail("; ".join(missing))
    service = AgentService(ModelStore(options.threads, options.trial))
    log.info("agent of fleet %s, %d threads", options.fleet or "(none)", options.threads)
    try:
        with serving(service, options.socket, options.clean_stale_socket, GRACE):
            signal.sigwait(ENDINGS)
    except CannotStart as problem:
        return _fail(str(problem))
    # Not by returning: the interpreter would wait for a call that has outlived its grace, however long it takes.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def _fail(problem: str) -> int:
    sys.stderr.write(f"emflow-agent: {problem}\n")
    return 1


def _log_to_stdout(verbose: bool) -> None:
    """Standard output, because that is where a Greengrass core takes a component's log from."""
    formatter = logging.Formatter("[%(asctime)s.%(msecs)03dZ][%(levelname).1s] %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])


def _processors() -> int:
    """Two threads halved MobileNetV2's time on two idle processors and cost nothing on busy ones; past four, networks
    of this size gain little and take the processors from whatever decodes the video."""
    return min(4, len(os.sched_getaffinity(0)))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _boolean(text: str) -> bool:
    """As the settings of a Greengrass component say it: text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


if __name__ == "__main__":
    sys.exit(main())
