"""The probe: runs a model for the first time in a separate process, so that a crash does not end the agent.

Runtimes do not validate model files completely: damaged files, and drivers of accelerators, can crash the process.
`run` is the main function of that process. It reads one line of JSON and the model files from standard input, and
writes the memory that the model needed to standard output. The setting that turns the probe off is called `Trial`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path

from emflow_agent.errors import CannotLoad, NotEnoughMemory, Refused
from emflow_agent.models.folder import CHUNK, CheckWanted, still_wanted
from emflow_agent.runtimes import Runtime, RuntimeOptions, find_runtime, open_and_warm_up
from emflow_agent.temporary_folders import temporary_folder
from emflow_schema.json_text import json_text

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1  # linux/prctl.h

STATUS = Path("/proc/self/status")

# Uses the agent's own import path; with `-m`, Python would search the working folder first, where other users may be
# able to put modules.
_START = "import sys; sys.path[:] = sys.argv[2:]; from emflow_agent.models import probe; probe.run()"

# Seconds. An NPU may compile a large graph for minutes; a driver that hangs must not block all other loads for ever.
PROBE_TIMEOUT = 300.0


class ProbeCrashed(CannotLoad):
    """The probe process crashed or hung."""


def run_probe(
    runtime: Runtime,
    files: Mapping[str, bytes],
    options: RuntimeOptions,
    timeout: float = PROBE_TIMEOUT,
    check_wanted: CheckWanted = still_wanted,
) -> int | None:
    """Run the model once in another process. Errors that the runtime reports are left to the load that follows.

    Returns:
        Peak memory of the model in bytes, without that of the runtime itself; None where it was not measured.

    Raises:
        ProbeCrashed: the process crashed or did not end in time.
        NotEnoughMemory: the process was killed, as the kernel does when memory runs out.
        CallerGone: `check_wanted`, which is called until the process begins, raised it.
    """
    header = {
        "runtime": runtime.KEY,
        "options": options.as_json(),
        "files": [[name, len(content)] for name, content in files.items()],
    }
    command = [sys.executable, "-c", _START, str(os.getpid()), *sys.path]
    try:
        # In a file in memory: a pipe takes seconds for each gigabyte.
        payload = FileIO(os.memfd_create("model"), "r+")
        with payload, _temporary_folder(runtime.NEEDS_TEMPORARY_FILES) as environment:
            for content in (json_text(header).encode() + b"\n", *files.values()):
                _write(payload, content, check_wanted)
            payload.seek(0)
            completed = subprocess.run(
                command, check=False, stdin=payload, capture_output=True, timeout=timeout, env=environment
            )
    except subprocess.TimeoutExpired:
        raise ProbeCrashed(f"it did not finish its first run on {runtime.NAME} within {timeout:.0f} s") from None
    except OSError as error:
        log.warning("loading without a probe, which cannot be started: %s", error.strerror)
        return None
    if completed.returncode == -signal.SIGKILL:
        raise NotEnoughMemory("the probe process was killed; the model may need too much memory")
    if completed.returncode < 0:
        raise ProbeCrashed(f"it crashes {runtime.NAME} ({_signal(-completed.returncode)}); the file may be damaged")
    if completed.returncode:
        lines = completed.stderr.decode(errors="replace").strip().splitlines()
        log.warning("loading without a probe, which failed: %s", lines[-1] if lines else "no reason given")
        return None
    return _peak_bytes(completed.stdout)


def _write(file: FileIO, content: bytes, check_wanted: CheckWanted) -> None:
    view = memoryview(content)
    while view:
        view = view[file.write(view[:CHUNK]) :]
        check_wanted()


@contextlib.contextmanager
def _temporary_folder(wanted: bool) -> Iterator[dict[str, str]]:
    """The environment for the probe, with its own temporary folder: a process that crashes cannot remove its files."""
    if not wanted:
        yield dict(os.environ)
        return
    with temporary_folder() as folder:
        yield {**os.environ, "TMPDIR": folder}


def main() -> int:
    """Main function of the probe process; exit code 0 also when the runtime refuses the model."""
    # The probe must end with the agent; the second check is for an agent that ended before the first call.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        return 0
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # When memory runs out, the kernel kills this process first, not the agent or other processes.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    # Standard output is for the result only; what a runtime prints goes to standard error.
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    header = json.loads(sys.stdin.buffer.readline())
    runtime = find_runtime(header["runtime"])
    assert runtime is not None
    runtime.available()  # imports its package, whose memory does not count as the model's
    before = _own_memory()
    with contextlib.suppress(Refused, MemoryError):
        files = {name: sys.stdin.buffer.read(size) for name, size in header["files"]}
        ready = open_and_warm_up(runtime, files, RuntimeOptions.of_json(header["options"]))
        output.write(json_text({"peak_bytes": _field("VmHWM") - before, "placement": str(ready.model.placement)}))
        output.flush()
    return 0


def _own_memory() -> int:
    """Resident memory now, in bytes; the kernel measures the peak from now on."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _field("VmRSS")


def _field(name: str) -> int:
    """A size from /proc/self/status in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) << 10


def _peak_bytes(output: bytes) -> int | None:
    try:
        return max(int(json.loads(output)["peak_bytes"]), 0)
    except (ValueError, KeyError, TypeError):
        return None


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def run() -> None:
    """Run the probe and end the process at once, without the normal shutdown of the interpreter."""
    code = main()
    sys.stderr.flush()
    os._exit(code)
