"""Lifecycle steps as processes: each is a shell below a keeper of its own, and is always ended completely."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import select
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from emflow_emulator.core import orphan_cleanup, step_keeper

Sink = Callable[[str, str], None]
"""Takes `stdout` or `stderr`, and a line without its line break."""

_GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL, as in the nucleus."""

_LONGEST_LINE = 64 * 1024
"""Maximum length of a line in characters; longer lines are split."""

_LAST_LINES = 0.3
"""Seconds to wait for the last output after the end of a script."""

_KILL_PATIENCE = 5.0
"""Seconds in which processes end that are killed."""

_KEEPER_KILLED = -9
"""The code of a script whose keeper ended before it."""


class OrphanCleanup:
    """The process that waits for the end of all component processes when this one was killed; one for each core device.

    Args:
        removes: a folder that is also removed when the parent of this process has ended. While the parent runs, only
            the parent removes the folder.
    """

    def __init__(self, removes: Path | None = None) -> None:
        self._parent = _watched_parent() if removes else None
        more = [] if removes is None else [str(removes)] + ([] if self._parent is None else [str(self._parent)])
        # In its own session, so that it gets no signal from Ctrl-C or from a closed terminal.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", orphan_cleanup.__file__, *more],
            pass_fds=() if self._parent is None else (self._parent,),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._lock = threading.Lock()

    def watch(self, keeper: int) -> None:
        self._order(f"+{keeper}\n")

    def forget(self, keeper: int) -> None:
        self._order(f"-{keeper}\n")

    def close(self) -> None:
        """End the cleanup process; it waits for the keepers that are still in its list."""
        if self._parent is not None:
            if not orphan_cleanup.ended(self._parent, 0):
                self._order(orphan_cleanup.KEEP)
            os.close(self._parent)
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin
            self._process.stdin.close()
        self._process.wait()

    def _order(self, text: str) -> None:
        with self._lock, contextlib.suppress(BrokenPipeError):
            assert self._process.stdin
            self._process.stdin.write(text)
            self._process.stdin.flush()


def _watched_parent() -> int | None:
    """A file descriptor that is readable as soon as the parent has ended; None when it has ended already."""
    parent = os.getppid()
    # Only the parent has the other end of standard input. If it is still open now, the parent was running when its
    # number was read, so the number is not that of a process that adopts orphans.
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        lifeline = select.poll()
        lifeline.register(0, 0)
        if lifeline.poll(0):
            return None
    try:
        return os.pidfd_open(parent)
    except ProcessLookupError:
        return None


class Process:
    """A running script, from its start until all processes that it started have ended, however they detached.

    Args:
        script: for `sh -c`.
        env: all environment variables.
        cwd: the working directory.
        sink: called from a thread for every line of output, in order for each of the two streams.
        on_exit: called from a thread when the script has ended and its last lines have been passed to `sink`.

    Raises:
        OSError: it cannot be started.
        ValueError: the script or the environment has the character NUL.
    """

    def __init__(
        self,
        script: str,
        *,
        env: Mapping[str, str],
        cwd: Path,
        sink: Sink,
        orphan_cleanup: OrphanCleanup,
        on_exit: Callable[[], object] = lambda: None,
    ) -> None:
        order = _order_to_start(script, env)
        self._orphan_cleanup = orphan_cleanup
        self._on_exit = on_exit
        self._ended = threading.Event()
        self._all_gone = threading.Event()
        self.code: int | None = None
        readable, writable = os.pipe()
        self._report = os.fdopen(readable, "rb")
        try:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", step_keeper.__file__, str(writable)],
                cwd=cwd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(writable,),
                start_new_session=True,
            )
        except BaseException:
            self._report.close()
            raise
        finally:
            os.close(writable)
        orphan_cleanup.watch(self._guard.pid)
        self._tell_keeper(order)
        started = self._report.readline()
        self._pumps = [
            threading.Thread(target=_pump, args=(pipe, name, sink), name="Copier", daemon=True)
            for pipe, name in ((self._guard.stdout, "stdout"), (self._guard.stderr, "stderr"))
        ]
        watch = threading.Thread(target=self._watch, args=(started, sink), name="Exec", daemon=True)
        for thread in (*self._pumps, watch):
            thread.start()
        if not started or started.startswith(b"!"):
            self._all_gone.wait()
            raise OSError(errno.ENOEXEC, started[1:].decode().strip() or "its keeper ended")

    def wait(self, timeout: float | None = None) -> int | None:
        """The script's exit code; None when it does not end in time."""
        self._ended.wait(timeout)
        return self.code

    def end(self, grace: float = _GRACE) -> None:
        """Send SIGTERM to all its processes, and after `grace` seconds SIGKILL to those that still run."""
        for order, patience in ((step_keeper.TERM, grace), (step_keeper.KILL, _KILL_PATIENCE)):
            if self._all_gone.is_set():
                return
            self._tell_keeper(order)
            self._all_gone.wait(patience)
        if not self._all_gone.is_set():  # the script has stopped its keeper
            self._guard.send_signal(signal.SIGUSR1)
            self._all_gone.wait(_KILL_PATIENCE)

    def _tell_keeper(self, order: bytes) -> None:
        assert self._guard.stdin
        with contextlib.suppress(BrokenPipeError, ValueError):  # it has ended, and so has all that it kept
            self._guard.stdin.write(order)
            self._guard.stdin.flush()

    def _watch(self, started: bytes, sink: Sink) -> None:
        """Read the report of the keeper and its guard until both have ended."""
        left = ""
        with self._report:
            # The script may have killed its keeper before that could report its start.
            for line in itertools.chain([started] if started.startswith(b"-") else [], self._report):
                if line.startswith(b"?"):
                    left = line[1:].decode(errors="replace").strip()
                elif self.code is None:
                    self._script_ended(int(line))
        if self.code is None:
            self._script_ended(_KEEPER_KILLED)
        self._guard.wait()
        for pump in self._pumps:  # no process is left that could write, except for those that could not be ended
            pump.join(_LAST_LINES if left else _GRACE)
        if left:
            sink("stderr", f"Processes could not be ended, as they are another user's: {left}")
        self._orphan_cleanup.forget(self._guard.pid)
        self._all_gone.set()
        assert self._guard.stdin
        with contextlib.suppress(BrokenPipeError):
            self._guard.stdin.close()

    def _script_ended(self, code: int) -> None:
        # A background child of the script may keep the pipes open, so the wait has a limit.
        deadline = time.monotonic() + _LAST_LINES
        for pump in self._pumps:
            pump.join(max(0.0, deadline - time.monotonic()))
        self.code = code
        self._ended.set()
        self._on_exit()


def _order_to_start(script: str, env: Mapping[str, str]) -> bytes:
    parts = [script, *(f"{name}={value}" for name, value in env.items())]
    if any("\0" in part for part in parts):
        raise ValueError("embedded null byte")
    order = b"\0".join(os.fsencode(part) for part in parts)
    return len(order).to_bytes(4, "big") + order


def _pump(pipe: IO[bytes] | None, name: str, sink: Sink) -> None:
    assert pipe is not None
    with io.TextIOWrapper(pipe, encoding="utf-8", errors="replace", newline="\n") as lines:
        while line := lines.readline(_LONGEST_LINE):
            text = line.strip()
            if text:
                sink(name, text)
