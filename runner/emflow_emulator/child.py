"""Child processes of `emflow up`: each writes one JSON line when it is ready, and ends when its parent ends.

A child's standard input is a pipe whose other end only the parent has. When the parent ends for any reason, the pipe
closes and the child stops by itself; so even after a SIGKILL of the parent no child stays.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from emflow.json_text import from_json, to_json
from emflow.problems import Problem
from emflow_emulator.access import without_aws
from emflow_schema.installation import how_to_install
from emflow_schema.signals import on_end

_LAST_MOMENTS = 10.0
"""Seconds in which a child ends that has closed its output: that comes before its exit code can be had."""


class Child:
    """A child process, as its parent uses it. Its environment has no AWS settings of this process."""

    def __init__(self, name: str, module: str, args: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        self.announced = False
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                # -P: with -m alone, Python would search the current folder first, whose files are the user's.
                [sys.executable, "-P", "-m", module, *args],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=without_aws(os.environ),
                # Only the parent handles Ctrl-C; it stops its children in a defined order.
                start_new_session=True,
            )

    def ready(self, timeout: float = 60.0) -> dict[str, Any]:
        """Wait for the ready line and return it.

        Raises:
            Problem: the child ended, or wrote no line within `timeout` seconds.
        """
        line, closed = _read_line(self._process.stdout, timeout)
        if line:
            answer: dict[str, Any] = from_json(line)
            if "problem" not in answer:
                self.announced = True
                return answer
            self.stop()
            raise Problem(answer["problem"], where=self.name, mend=answer.get("mend", ""))
        words = f"it was not ready within {timeout:.0f} s"
        if closed:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LAST_MOMENTS)
            words = "it closed its output and was not ready" if self.running else self.last_words()
        self.stop()
        missing = re.search(r"No module named '([^'.]+)", words)
        mend = f"Install what it needs: {how_to_install('emflow-emulator')}" if missing else ""
        raise Problem(f"did not start: {words}", where=self.name, mend=mend)

    def last_words(self) -> str:
        """How it ended: exit code or signal, and the last message of its log where that is an error."""
        code = self._process.poll()
        how = "it still runs" if code is None else f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        lines = self.log.read_text(errors="replace").strip().splitlines()
        messages = [line for line in lines if re.search(r"error|warning|critical", line, re.IGNORECASE)]
        return f"{how}; {messages[-1].strip()}" if messages else how

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self, grace: float = 20.0) -> None:
        """Ask the child to end, wait `grace` seconds, then kill it."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()


def _read_line(pipe: IO[bytes] | None, timeout: float) -> tuple[bytes, bool]:
    """One line from a pipe, empty when there is no whole one in time; and whether the pipe was closed before."""
    assert pipe is not None
    deadline = time.monotonic() + timeout
    data = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while not data.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return b"", False
            chunk = os.read(pipe.fileno(), 1)
            if not chunk:
                return b"", True
            data += chunk
    return data, False


def announce(**facts: Any) -> None:
    """In a child: write the ready line, with the facts that the parent needs."""
    sys.stdout.write(to_json(facts) + "\n")
    sys.stdout.flush()


def fail(problem: Problem) -> int:
    """In a child: log why it cannot start; the return value is its exit code."""
    announce(problem=problem.what, mend=problem.mend)
    return problem.exit_code


def stop_event() -> threading.Event:
    """In a child: an event that is set by SIGTERM, SIGINT or SIGHUP, or when the parent has ended.

    Standard input is watched only when it is a pipe, so the module can also be started from a terminal.
    """
    stop = threading.Event()
    on_end(lambda _: stop.set())

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        stop.set()

    if stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=watch, name="parent-watch", daemon=True).start()
    return stop
