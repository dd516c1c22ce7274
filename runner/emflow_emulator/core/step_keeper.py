"""Keeps one step of a component: starts its script, and ends all that the script started, however that detached.

A process of its own between the core device and the script. It is a child subreaper (prctl(2)): what loses its parent
becomes a child of this process, also in another session (`setsid`), as a daemon, and with an empty environment. So the
processes of the step are exactly those below this one, and the step has ended when there are none left.

Standard input comes from the core device: the length of what follows (4 bytes), then the script and the environment,
separated by zeros; after that, TERM and KILL. When it is closed, because the core device has ended or was killed, all
processes are killed. The report, which is written to the file descriptor of the first argument, has two lines: the
script's process id, or `!` and why it cannot be started; then its exit code.

`Process` in `process` starts it as a plain file, so it imports no module of the package.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
from collections.abc import Callable

TERM, KILL = b"t", b"k"
"""Orders: SIGTERM to all processes of the step; SIGKILL, until there are none left."""

_PR_SET_CHILD_SUBREAPER = 36
_ORDERS = 0
_AGAIN = 0.02
"""Seconds between two rounds of SIGKILL: a process may start another one while it is killed."""
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that Python or this program ignores, and a script does not."""


def main(report: int) -> None:
    os.set_inheritable(report, False)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child_ended = _wake_up_on_child_ends()
    order = _read_whole()
    if order is None:  # the core device ended before it had said what to start
        return
    script, *variables = order.split(b"\0")
    try:
        process = _start(script, dict(each.split(b"=", 1) for each in variables))
    except OSError as error:
        os.write(report, f"!{error.strerror or error}\n".encode())
        return
    # Only the step's processes may hold its output open: at the end of the last one, the core device has read all.
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.write(report, b"%d\n" % process)

    def on_exit_code(code: int) -> None:
        with contextlib.suppress(OSError):  # the core device has ended
            os.write(report, b"%d\n" % code)

    _keep(process, child_ended, on_exit_code)


def _keep(process: int, child_ended: int, on_exit_code: Callable[[int], None]) -> None:
    """Carry out orders until no process of the step is left."""
    killing = False
    sources = [_ORDERS, child_ended]
    while _reap(process, on_exit_code):
        if killing:
            _signal(process, signal.SIGKILL)
        ready = select.select(sources, [], [], _AGAIN if killing else None)[0]
        if child_ended in ready:
            os.read(child_ended, 4096)
        if _ORDERS in ready:
            orders = os.read(_ORDERS, 4096)
            if TERM in orders:
                _signal(process, signal.SIGTERM)
            if KILL in orders or not orders:
                killing = True
                sources.remove(_ORDERS)


def _wake_up_on_child_ends() -> int:
    """A file descriptor that can be read after each end of a child."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return readable


def _read_whole() -> bytes | None:
    """The first order; None when the pipe is closed before its end."""
    size = _read(4)
    return None if size is None else _read(int.from_bytes(size, "big"))


def _read(size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        piece = os.read(_ORDERS, size - len(data))
        if not piece:
            return None
        data += piece
    return data


def _start(script: bytes, environment: dict[bytes, bytes]) -> int:
    """Raises OSError."""
    return os.posix_spawn(
        "/bin/sh",
        [b"sh", b"-c", script],
        environment,
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        setsid=True,
        setsigdef=_RESTORED,
    )


def _reap(process: int, on_exit_code: Callable[[int], None]) -> bool:
    """Take the ends of all children that have ended; False when there are no more children."""
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if not ended:
            return True
        if ended == process:
            on_exit_code(os.waitstatus_to_exitcode(status))


def _signal(process: int, number: int) -> None:
    """Send a signal to all processes of the step; to the script's process group at once, as a terminal would."""
    groups = _descendants(os.getpid())
    if process in groups.values():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, number)
    for pid, group in groups.items():
        if group != process:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


def _descendants(root: int) -> dict[int, int]:
    """The processes below one, and the process group of each."""
    children: dict[int, list[tuple[int, int]]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 without pathlib, whose import takes longer than all else here
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                # The name in brackets may contain any character, so count from its end: state, parent, group.
                _, parent, group = file.read().rpartition(b")")[2].split()[:3]
        except (OSError, ValueError):  # it has ended
            continue
        children.setdefault(int(parent), []).append((int(name), int(group)))
    found: dict[int, int] = {}
    waiting = [root]
    while waiting:
        for child, its_group in children.get(waiting.pop(), ()):
            found[child] = its_group
            waiting.append(child)
    return found


if __name__ == "__main__":
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    main(int(sys.argv[1]))
