"""The `emflow-agent` command: reads its settings, serves until it is told to end."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence

from emflow_agent.settings.command_line import parser
from emflow_schema.installation import how_to_install

ENDINGS = (signal.SIGTERM, signal.SIGINT)
GRACE = 5.0  # seconds that calls under way get when the agent is told to end

log = logging.getLogger("emflow_agent")


def main(arguments: Sequence[str] | None = None) -> int:
    parser().parse_args(arguments)  # before anything that needs a package: `--help` ends here, and a wrong flag
    # Blocked here, and so in every thread that is made from now on, and taken by sigwait below: a Python handler would
    # wait for the main thread to wake up, which a signal that the kernel gives to another thread does not make it do.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    # Python 3.9 starts programs by fork(), after which gRPC's own fork handlers abort the child now and then (measured
    # with 1.80: 2 of 100). A model's trial is such a program. Read when grpc is imported.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    try:
        # What the agent is built on only now: a missing package is a line to read.
        from emflow_agent import metrics
        from emflow_agent.calls.server import serving
        from emflow_agent.calls.service import AgentService
        from emflow_agent.capture.buffer import CaptureBuffer
        from emflow_agent.errors import CannotStart
        from emflow_agent.models.store import ModelStore
        from emflow_agent.settings.reading import BadSetting
        from emflow_agent.settings.sources import settings
        from emflow_agent.systemd import notify
        from emflow_agent.temporary_folders import remove_orphaned_folders
    except ImportError as error:
        needs = f"install what the agent needs (extra agent): {how_to_install('emflow-device', 'agent')}"
        return _fail(f"{error}; {needs}", 1)
    try:
        told = settings(arguments)
    except BadSetting as problem:
        return _fail(f"error: {problem}", 2)
    _log_to_stdout(told.verbose)
    log.info("agent of fleet %s, %d threads", told.capture.fleet or "(none)", told.runtime.threads)
    for note in (*told.notes, *_without_runtime()):
        log.warning("%s", note)
    if told.region:
        os.environ.setdefault("AWS_DEFAULT_REGION", told.region)  # boto3's, for what uploads captured data
    capturing = CaptureBuffer(told.capture)
    store = ModelStore(
        probe=told.probe,
        options=told.runtime,
        trust=told.trust,
        memory_limit=told.memory_limit,
        queue_size=told.queue_size,
        tunes_process=True,
    )
    service = AgentService(store, capturing)
    remove_orphaned_folders()
    try:
        with serving(
            service,
            told.socket,
            told.clean_stale_socket,
            GRACE,
            mode=told.socket_mode,
            group=told.socket_group,
            queue_size=told.queue_size,
        ):
            # Only now: what lies on disk is another agent's while that has the socket. Captures wait until it began.
            capturing.open()
            capturing.start()
            notify("READY=1")
            with metrics.log_periodically(store, capturing, told.memory_limit, told.metrics_period):
                signal.sigwait(ENDINGS)
            notify("STOPPING=1")
    except CannotStart as problem:
        return _fail(str(problem), 1)
    capturing.close(GRACE)
    # Not by returning: the interpreter would wait for a call that has outlived its grace, however long it takes.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def _without_runtime() -> Iterator[str]:
    """What to install where there is only what a compiled model brings along. Stops at the first that is there, for a
    runtime's package is large."""
    from emflow_agent.runtimes import RUNTIMES, neo

    missing = []
    for runtime in RUNTIMES:
        if runtime is neo:
            continue
        reason = runtime.available()
        if not reason:
            return
        missing.append(reason)
    yield f"only Neo-compiled models can be loaded: {'; '.join(missing)}"


def _fail(problem: str, code: int) -> int:
    sys.stderr.write(f"emflow-agent: {problem}\n")
    return code


def _log_to_stdout(verbose: bool) -> None:
    """Standard output, because that is where a Greengrass core takes a component's log from."""
    formatter = logging.Formatter("[%(asctime)s.%(msecs)03dZ][%(levelname).1s] %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])


if __name__ == "__main__":
    sys.exit(main())
