"""The `emflow-agent` command: reads the settings and serves until SIGTERM or SIGINT."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from emflow_agent.line_limit import LineLimit
from emflow_agent.settings.command_line import parser
from emflow_schema.installation import how_to_install

if TYPE_CHECKING:
    from emflow_agent.models.integrity import TrustedKeys

END_SIGNALS = (signal.SIGTERM, signal.SIGINT)
GRACE = 5.0  # seconds that calls under way get when the agent is settings to end

CLOCK_PERIOD = 3600.0  # seconds after which the newest time that was seen is stored again, for a power cut

log = logging.getLogger("emflow_agent")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)  # before imports that need packages: `--help` and a wrong flag end here
    # The signals are blocked here, and so in every thread that starts later, and received by sigwait below. A Python
    # handler runs only when the main thread wakes up, and a signal that the kernel delivers to another thread does not
    # wake it.
    signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)
    # Python 3.9 starts programs with fork(), and then the fork handlers of gRPC sometimes abort the child (measured
    # with 1.80: 2 of 100). A probe of a model is such a program. gRPC reads the variable when it is imported.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    try:
        # Imported here, so that a missing package gives one readable line instead of a traceback.
        from emflow_agent import metrics
        from emflow_agent.calls.models_service import ModelsService
        from emflow_agent.calls.refused_calls import RefusedCalls
        from emflow_agent.calls.server import serving
        from emflow_agent.calls.service import AgentService
        from emflow_agent.capture.buffer import CaptureBuffer
        from emflow_agent.errors import CannotStart
        from emflow_agent.models.store import ModelStore
        from emflow_agent.settings.proposals import answer_proposals
        from emflow_agent.settings.reading import BadSetting
        from emflow_agent.settings.sources import fault_in, read_settings
        from emflow_agent.systemd import notify
        from emflow_agent.temporary_folders import remove_orphaned_folders
    except ImportError as error:
        needs = f"install what the agent needs (extra agent): {how_to_install('emflow-device', 'agent')}"
        return _fail(f"{error}; {needs}", 1)
    try:
        settings = read_settings(arguments)
    except BadSetting as problem:
        return _fail(f"error: {problem}", 2)
    _log_to_stdout(settings.verbose)
    log.info("agent of fleet %s, %d threads", settings.capture.fleet or "(none)", settings.runtime.threads)
    for note in (*settings.notes, *_missing_runtimes()):
        log.warning("%s", note)
    if settings.region:
        os.environ.setdefault("AWS_DEFAULT_REGION", settings.region)  # boto3 reads it when captured data is uploaded
    captures = CaptureBuffer(settings.capture)
    store = ModelStore(
        probe=settings.probe,
        options=settings.runtime,
        trust=settings.trust,
        memory_limit=settings.memory_limit,
        queue_size=settings.queue_size,
        tunes_process=True,
    )
    refused = RefusedCalls()
    service = AgentService(store, captures, refused)
    remove_orphaned_folders()
    try:
        if settings.trust.signature_required:
            settings.trust.state.prepare()
        with serving(
            service,
            settings.socket,
            settings.clean_stale_socket,
            GRACE,
            mode=settings.socket_mode,
            group=settings.socket_group,
            queue_size=settings.queue_size,
            refused=refused,
            users=settings.socket_users,
            models_service=ModelsService(store, refused),
        ):
            # Only after the socket is ours: until then another agent may own the folder on disk.
            captures.open()
            captures.start()
            if options.greengrass:
                answer_proposals(lambda configuration: fault_in(configuration, arguments))
            notify("READY=1")
            with metrics.log_periodically(store, captures, settings.memory_limit, settings.metrics_period):
                while signal.sigtimedwait(END_SIGNALS, CLOCK_PERIOD) is None:
                    _note_time(settings.trust)
            notify("STOPPING=1")
    except CannotStart as problem:
        return _fail(str(problem), 1)
    _note_time(settings.trust)
    captures.close(GRACE)
    # Not by returning: the interpreter would wait for calls that are still running after the grace period.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def _note_time(trust: TrustedKeys) -> None:
    from emflow_agent.errors import CannotLoad

    try:
        if trust.signature_required:
            trust.state.note_time()
    except CannotLoad as problem:
        log.warning("the time is not remembered: %s", problem)


def _missing_runtimes() -> Iterator[str]:
    """Say what to install when no runtime besides Neo is available. Stops at the first one that is: they are large."""
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
    """Log to standard output: a Greengrass core writes it to the component's log file."""
    formatter = logging.Formatter("[%(asctime)s.%(msecs)03dZ][%(levelname).1s] %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    handler.addFilter(LineLimit())
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])


if __name__ == "__main__":
    sys.exit(main())
