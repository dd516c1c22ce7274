"""A model's first run, in a process of its own: a file that crashes its runtime then takes no loaded model with it.

Runtimes trust what is in a model file, and there are files, damaged ones among them, that end the process that runs
them. As a program (`python -m emflow_agent.trial`) this module is that process; the model comes on standard input.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import resource
import signal
import subprocess
import sys

from emflow_agent.problems import CannotLoad, NotEnoughMemory, Refused
from emflow_agent.runtimes import RUNTIMES, Runtime, ready_model

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def try_out(runtime: Runtime, content: bytes, threads: int) -> None:
    """Run a model once, elsewhere. A refusal of the runtime's own is left to the load that follows.

    Raises:
        CannotLoad: the process did not survive it.
        NotEnoughMemory: somebody killed the process, as the kernel does with one that takes too much.
    """
    command = [sys.executable, "-m", "emflow_agent.trial", runtime.NAME, str(threads), str(os.getpid())]
    try:
        tried = subprocess.run(command, check=False, input=content, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    except OSError as error:
        log.warning("loading without a trial, which cannot be started: %s", error.strerror)
        return
    if tried.returncode == -signal.SIGKILL:
        raise NotEnoughMemory("the process that tried the model was killed; it may have taken too much memory")
    if tried.returncode < 0:
        raise CannotLoad(f"it crashes {runtime.NAME} ({_signal(-tried.returncode)}); the file may be damaged")
    if tried.returncode:
        said = tried.stderr.decode(errors="replace").strip().splitlines()
        log.warning("loading without a trial, which failed: %s", said[-1] if said else "it did not say why")


def main() -> int:
    """The process: `RUNTIME THREADS PARENT`. Code 0 also for a model that the runtime refuses."""
    name, threads, parent = sys.argv[1:]
    # It must not outlive the agent, whichever way that ends; the second line is for one that ended just before.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        return 0
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    runtime = next(runtime for runtime in RUNTIMES if name == runtime.NAME)
    with contextlib.suppress(Refused, MemoryError):
        ready_model(runtime, sys.stdin.buffer.read(), int(threads))
    return 0


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


if __name__ == "__main__":
    # Without the interpreter's way out: what the model left behind has nothing more to say.
    code = main()
    sys.stderr.flush()
    os._exit(code)
