"""Lifecycle steps as processes: each is a shell in its own process group, which is always ended completely."""

from __future__ import annotations

import contextlib
import io
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

from emflow_emulator.core import orphan_cleanup

Sink = Callable[[str, str], None]
"""Takes `stdout` or `stderr`, and a line without its line break."""

_GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL, as in the nucleus."""

_LONGEST_LINE = 64 * 1024
"""Maximum length of a line in characters; longer lines are split."""

_LAST_LINES = 0.3
"""Seconds to wait for the last output after the end of a script."""

# The script waits for one line before it begins, so that the cleanup process knows its group before it does anything.
# If the core device is killed before that, the script reads an end of file and does not begin.
_LAUNCHER = 'read -r _ || exit 125; exec sh -c "$0" </dev/null'


class OrphanCleanup:
    """The process that kills the component processes when this one is killed; one for each core device.

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

    def watch(self, group: int) -> None:
        self._order(f"+{group}\n")

    def forget(self, group: int) -> None:
        self._order(f"-{group}\n")

    def close(self) -> None:
        """End the cleanup process; it kills the groups that are still in its list."""
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
    """A running script, from its start until its whole process group has ended.

    Args:
        script: for `sh -c`.
        env: all environment variables.
        cwd: the working directory.
        sink: called from a thread for every line of output, in order for each of the two streams.
        on_exit: called from a thread when the script has ended and its last lines have been passed to `sink`.
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
        self._orphan_cleanup = orphan_cleanup
        self._on_exit = on_exit
        self._ended = threading.Event()
        self._process = subprocess.Popen(
            ["sh", "-c", _LAUNCHER, script],
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.code: int | None = None
        self.group = self._process.pid
        orphan_cleanup.watch(self.group)
        self._pumps = [
            threading.Thread(target=_pump, args=(pipe, name, sink), name="Copier", daemon=True)
            for pipe, name in ((self._process.stdout, "stdout"), (self._process.stderr, "stderr"))
        ]
        for thread in (*self._pumps, threading.Thread(target=self._watch, name="Exec", daemon=True)):
            thread.start()
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(b"\n")
            self._process.stdin.close()

    def wait(self, timeout: float | None = None) -> int | None:
        """The script's exit code; None when it does not end in time."""
        self._ended.wait(timeout)
        return self.code

    def end(self, grace: float = _GRACE) -> None:
        """Send SIGTERM to the group, and after `grace` seconds SIGKILL to the processes that still run."""
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
            if not self._any_left():
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.group, number)
            self._ended.wait(patience)
            deadline = time.monotonic() + patience
            while self._any_left() and time.monotonic() < deadline:
                time.sleep(0.01)
        self._orphan_cleanup.forget(self.group)

    def _watch(self) -> None:
        code = self._process.wait()
        # A background child of the script may keep the pipes open, so the wait has a limit.
        deadline = time.monotonic() + _LAST_LINES
        for pump in self._pumps:
            pump.join(max(0.0, deadline - time.monotonic()))
        self.code = code
        self._ended.set()
        self._on_exit()

    def _any_left(self) -> bool:
        if not self._ended.is_set():
            return True
        try:
            os.killpg(self.group, 0)
        except ProcessLookupError:
            return False
        return _living(self.group)


def _living(group: int) -> bool:
    """Whether the group has a process that is not a zombie; a zombie may stay until its new parent reaps it."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in brackets may contain any character, so count from its end: state, parent, group.
            state, _, of = file.read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(of) == group and state != "Z":
            return True
    return False


def _pump(pipe: IO[bytes] | None, name: str, sink: Sink) -> None:
    assert pipe is not None
    with io.TextIOWrapper(pipe, encoding="utf-8", errors="replace", newline="\n") as lines:
        while line := lines.readline(_LONGEST_LINE):
            text = line.strip()
            if text:
                sink(name, text)
