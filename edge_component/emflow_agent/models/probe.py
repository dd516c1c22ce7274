"""A model's first run, in a process of its own: a file that crashes its runtime then takes no loaded model with it.

Runtimes trust what is in a model file, and there are files, damaged ones among them, that end the process that runs
them; so do drivers of accelerators. `run` is what that process does. A line of JSON and the model's files come on its
standard input; how much memory it took goes to standard output.
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
from pathlib import Path

from emflow_agent.errors import CannotLoad, NotEnoughMemory, Refused
from emflow_agent.runtimes import Runtime, RuntimeOptions, find_runtime, open_and_warm_up
from emflow_agent.temporary_folders import temporary_folder

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1  # linux/prctl.h

STATUS = Path("/proc/self/status")

# The agent's own import path in the place of what Python makes of `-m`: that begins with the working folder, where
# somebody else may put modules.
_START = "import sys; sys.path[:] = sys.argv[2:]; from emflow_agent.models import probe; probe.run()"

# An NPU may compile a large graph for minutes; one whose driver hangs must not hold up all other loads for ever.
LONGEST = 300.0


class ProbeCrashed(CannotLoad):
    """The process that tried the model was ended by a fault in the runtime, or hung."""


def run_probe(
    runtime: Runtime, files: Mapping[str, bytes], options: RuntimeOptions, longest: float = LONGEST
) -> int | None:
    """Run a model once, elsewhere. A refusal of the runtime's own is left to the load that follows.

    Returns:
        Bytes that it took at its peak, above what the runtime's own code takes; None where that was not measured.

    Raises:
        Crashed: the process did not survive it, or did not end.
        NotEnoughMemory: somebody killed the process, as the kernel does with one that takes too much.
    """
    head = {
        "runtime": runtime.KEY,
        "options": options.as_json(),
        "files": [[name, len(content)] for name, content in files.items()],
    }
    whole = b"".join([json.dumps(head).encode(), b"\n", *files.values()])
    command = [sys.executable, "-c", _START, str(os.getpid()), *sys.path]
    try:
        with _temporary_folder(runtime.NEEDS_TEMPORARY_FILES) as environment:
            tried = subprocess.run(
                command, check=False, input=whole, capture_output=True, timeout=longest, env=environment
            )
    except subprocess.TimeoutExpired:
        raise ProbeCrashed(f"it did not end its first run on {runtime.NAME} within {longest:.0f} s") from None
    except OSError as error:
        log.warning("loading without a trial, which cannot be started: %s", error.strerror)
        return None
    if tried.returncode == -signal.SIGKILL:
        raise NotEnoughMemory("the process that tried the model was killed; it may have taken too much memory")
    if tried.returncode < 0:
        raise ProbeCrashed(f"it crashes {runtime.NAME} ({_signal(-tried.returncode)}); the file may be damaged")
    if tried.returncode:
        said = tried.stderr.decode(errors="replace").strip().splitlines()
        log.warning("loading without a trial, which failed: %s", said[-1] if said else "it did not say why")
        return None
    return _told(tried.stdout)


@contextlib.contextmanager
def _temporary_folder(wanted: bool) -> Iterator[dict[str, str]]:
    """The environment with a folder of its own for a process that may not live to tidy up."""
    if not wanted:
        yield dict(os.environ)
        return
    with temporary_folder() as place:
        yield {**os.environ, "TMPDIR": place}


def main() -> int:
    """The process, with its parent's number. Code 0 also for a model that the runtime refuses."""
    # It must not outlive the agent, whichever way that ends; the second line is for one that ended just before.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        return 0
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # When memory runs out, the kernel ends this process and not the agent or whoever else runs here.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    # What a runtime prints is not an answer.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    head = json.loads(sys.stdin.buffer.readline())
    runtime = find_runtime(head["runtime"])
    assert runtime is not None
    runtime.available()  # imports its package, whose memory is not the model's
    before = _own_memory()
    with contextlib.suppress(Refused, MemoryError):
        files = {name: sys.stdin.buffer.read(size) for name, size in head["files"]}
        ready = open_and_warm_up(runtime, files, RuntimeOptions.of_json(head["options"]))
        json.dump({"peak_bytes": _field("VmHWM") - before, "placement": str(ready.model.placement)}, answer)
        answer.flush()
    return 0


def _own_memory() -> int:
    """Resident bytes now, from where the peak is counted from now on."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _field("VmRSS")


def _field(name: str) -> int:
    """A size in /proc/self/status, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) << 10


def _told(answer: bytes) -> int | None:
    try:
        return max(int(json.loads(answer)["peak_bytes"]), 0)
    except (ValueError, KeyError, TypeError):
        return None


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def run() -> None:
    """The process, to its end: without the interpreter's way out, for what the model left behind has no more to say."""
    code = main()
    sys.stderr.flush()
    os._exit(code)
