"""Keeps one step of a component: starts its script, and ends all that the script started, however that detached.

Two processes of their own between the core device and the script: a guard and, below it, the keeper. Each is a child
subreaper (prctl(2)): what loses its parent becomes a child of the keeper, also in another session (`setsid`), as a
daemon, and with an empty environment. So the processes of the step are exactly those below the keeper, and the step has
ended when there are none left. A script can kill the keeper: then they become children of the guard, which kills them.

Standard input comes from the core device: the length of what follows (4 bytes), then the script and the environment,
separated by zeros; after that, TERM and KILL. When it is closed, because the core device has ended or was killed, all
processes are killed. The guard does this too when it gets SIGUSR1, for a keeper that carries out no orders.

The report, which is written to the file descriptor of the first argument, ends when all processes have ended. It has
lines: the script's process id, or `!` and why it cannot be started; its exit code; `?` and the processes that could not
be ended, because they belong to another user. In place of an exit code the guard writes -9 when the keeper was killed.

`Process` in `process` starts it as a plain file, so it imports no module of the package.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable

TERM, KILL = b"t", b"k"
"""Orders: SIGTERM to all processes of the step; SIGKILL, until there are none left."""

_PR_SET_CHILD_SUBREAPER = 36
_ORDERS = 0
_AGAIN = 0.02
"""Seconds between two rounds of SIGKILL: a process may start another one while it is killed."""
_TRIED = 2.0
"""Seconds of SIGKILL after which processes that may not be killed are left alone."""
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Signals that Python or this program ignores, and a script does not."""


def main(report: int) -> None:
    os.set_inheritable(report, False)
    _adopt_orphans()
    # Only here SIGUSR1 can arrive before the guard handles it; ignored, it would be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR1,))
    keeper = os.fork()
    if keeper:
        _guard(keeper, report)
        return
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGUSR1,))
    os.setsid()  # a script may kill the keeper's process group
    _adopt_orphans()
    _start_and_keep(report)


def _guard(keeper: int, report: int) -> None:
    """Wait for the end of the keeper; end what it leaves if it did not come to its own end."""
    _let_go(0, 1, 2)
    signal.signal(signal.SIGUSR1, lambda *_: os.kill(keeper, signal.SIGKILL))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGUSR1,))
    os.waitid(os.P_PID, keeper, os.WEXITED | os.WNOWAIT)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # soon, another process may have the keeper's number
    if os.waitpid(keeper, 0)[1] == 0:
        return
    with contextlib.suppress(OSError):  # the core device has ended
        os.write(report, b"%d\n" % -signal.SIGKILL)
    killing = _Killing(None, report)
    while _reap(None, lambda _: None) and killing.goes_on():
        time.sleep(_AGAIN)


def _start_and_keep(report: int) -> None:
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
    _let_go(1, 2)
    with contextlib.suppress(OSError):  # the core device has ended, which is seen at its orders
        os.write(report, b"%d\n" % process)

    def on_exit_code(code: int) -> None:
        with contextlib.suppress(OSError):  # the core device has ended
            os.write(report, b"%d\n" % code)

    _keep(process, child_ended, on_exit_code, _Killing(process, report))


def _keep(process: int, child_ended: int, on_exit_code: Callable[[int], None], killing: _Killing) -> None:
    """Carry out orders until no process of the step is left that can be ended."""
    kills = False
    sources = [_ORDERS, child_ended]
    while _reap(process, on_exit_code):
        if kills and not killing.goes_on():
            return
        ready = select.select(sources, [], [], _AGAIN if kills else None)[0]
        if child_ended in ready:
            os.read(child_ended, 4096)
        if _ORDERS in ready:
            orders = os.read(_ORDERS, 4096)
            if TERM in orders:
                _signal(process, signal.SIGTERM)
            if KILL in orders or not orders:
                kills = True
                sources.remove(_ORDERS)


class _Killing:
    """SIGKILL in rounds, until only processes are left that may not be killed."""

    def __init__(self, process: int | None, report: int) -> None:
        self._process = process
        self._report = report
        self._until: float | None = None

    def goes_on(self) -> bool:
        """Kill once more; False when that is no use any more. Then those that are left have been reported."""
        refused = _signal(self._process, signal.SIGKILL)
        if refused is None:
            self._until = None
            return True
        if self._until is None:
            self._until = time.monotonic() + _TRIED
        if time.monotonic() < self._until:
            return True
        left = b", ".join(b"%d (%s)" % (pid, _name(pid)) for pid in refused)
        with contextlib.suppress(OSError):  # the core device has ended
            os.write(self._report, b"?%s\n" % left)
        return False


def _adopt_orphans() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _let_go(*files: int) -> None:
    """Only the step's processes may hold its output open: at the end of the last one, the core device has read all."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for file in files:
        os.dup2(nothing, file)
    os.close(nothing)


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


def _reap(process: int | None, on_exit_code: Callable[[int], None]) -> bool:
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


def _signal(process: int | None, number: int) -> list[int] | None:
    """Send a signal to all processes of the step; to the script's process group at once, as a terminal would.

    Returns:
        The processes to which it may not be sent if these are the only ones, else None.
    """
    groups = _descendants(os.getpid())
    if process is not None and process in groups.values():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process, number)
    refused = []
    for pid, group in groups.items():
        try:
            # One of the group may belong to another user, while the group as a whole could get the signal.
            os.kill(pid, 0 if group == process else number)
        except PermissionError:
            refused.append(pid)
        except ProcessLookupError:
            pass
    return refused if refused and len(refused) == len(groups) else None


def _name(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:  # noqa: PTH123 as below
            return file.read().strip()
    except OSError:
        return b"?"


def _descendants(root: int) -> dict[int, int]:
    """The processes below one that have not ended, and the process group of each."""
    children: dict[int, list[tuple[int, int]]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 without pathlib, whose import takes longer than all else here
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                # The name in brackets may contain any character, so count from its end: state, parent, group.
                state, parent, group = file.read().rpartition(b")")[2].split()[:3]
        except (OSError, ValueError):  # it has ended
            continue
        if state != b"Z":  # it has ended, and its parent has not taken note of that
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
