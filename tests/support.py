"""Waiting for a condition, free ports, and programs under test."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60.0
"""Seconds for what comes in a moment on a quiet machine: only a test that fails has to wait for so long."""
LONG_START = 300.0
"""Seconds for the first results of a whole `emflow up`, which starts five programs."""


def until(condition: Callable[..., object], timeout: float = PATIENCE, what: str = "") -> None:
    """Wait until a condition holds; fail with what was waited for when it does not come."""
    if not holds(condition, timeout):
        pytest.fail(f"waited {timeout:.0f} s in vain for: {what or condition}")


def holds(condition: Callable[..., object], timeout: float = PATIENCE) -> bool:
    """Wait until a condition holds; whether it does."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


_reserved: list[socket.socket] = []


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens, and that a server which is started with it can have.

    It stays bound, so that the system gives it to nobody who asks for any port: tests run side by side. Servers set
    SO_REUSEADDR, as is done here; then a port that is bound, and not listened on, is free for them.
    """
    _reserved.append(socket.socket())
    _reserved[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _reserved[-1].bind(("127.0.0.1", 0))
    port: int = _reserved[-1].getsockname()[1]
    return port


def zip_strict(*many: Sequence[Any]) -> list[tuple[Any, ...]]:
    """`zip(…, strict=True)`, which Python 3.9 does not have yet."""
    assert len(set(map(len, many))) == 1, f"of different lengths: {list(map(len, many))}"
    return list(zip(*many))


def pairwise(many: Sequence[Any]) -> list[tuple[Any, Any]]:
    """`itertools.pairwise`, which Python 3.9 does not have yet."""
    return list(zip(many, many[1:]))


def processes_of(scratch: Path) -> list[int]:
    """The processes that run with this temporary folder, this process excepted."""
    mark = f"TMPDIR={scratch}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int(process.name) != os.getpid() and mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def belonging_to(scratch: Path) -> list[str]:
    """Command lines of the processes that run with this temporary folder, this process excepted."""
    found = []
    for pid in processes_of(scratch):
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
    return [line for line in found if line]


def exported(text: str) -> dict[str, str]:
    """The variables that lines for a shell export, as `emflow local` prints them."""
    lines = re.findall(r"^ *export (.+)$", text, re.MULTILINE)
    return dict(word.split("=", 1) for line in lines for word in line.split() if "=" in word)


def broker_user(exports: Mapping[str, str]) -> dict[str, str]:
    """The user of the broker, for a Watcher."""
    return {"username": exports["EMFLOW_MQTT_USERNAME"], "password": exports["EMFLOW_MQTT_PASSWORD"]}


def no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave nothing about AWS in the environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)


def let_in(monkeypatch: pytest.MonkeyPatch, exports: Mapping[str, str]) -> None:
    """Have this process, and what it starts, work with what lines for a shell export."""
    import boto3

    no_aws(monkeypatch)
    for name, value in exports.items():
        monkeypatch.setenv(name, value)
    # boto3's own session keeps the credentials that it found first.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


class Process:
    """A program under test: its output goes to a file, which can be read while it runs."""

    def __init__(self, args: Sequence[str], output: Path, **options: object) -> None:
        self.output = output
        with output.open("wb") as sink:
            self.popen = subprocess.Popen(args, stdout=sink, stderr=subprocess.STDOUT, **options)  # type: ignore[call-overload]

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def says(self, words: str, timeout: float = PATIENCE) -> str:
        """Wait until its output has the words; return all output so far."""
        deadline = time.monotonic() + timeout
        while words not in self.text():
            if self.popen.poll() is not None and words not in self.text():
                pytest.fail(f"ended with {self.popen.returncode} before it said {words!r}:\n{self.text()}")
            if time.monotonic() > deadline:
                pytest.fail(f"did not say {words!r} within {timeout:.0f} s:\n{self.text()}")
            time.sleep(0.02)
        return self.text()

    def ended(self, timeout: float = PATIENCE) -> int:
        """Wait until it has ended by itself; return the exit code."""
        return self.popen.wait(timeout)

    def end(self, number: int = signal.SIGTERM, timeout: float = PATIENCE) -> int:
        """Send a signal, wait, return the exit code."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        return self.ended(timeout)


# tgkill(2), for which C libraries have a function since glibc 2.30 only.
TGKILL = {"x86_64": 234, "aarch64": 131}


def signal_another_thread(pid: int, number: int) -> None:
    """Give a signal to a thread of a process that is not its main one, as the kernel may with what kill(2) sends."""
    system_call = ctypes.CDLL(None, use_errno=True).syscall
    for task in Path(f"/proc/{pid}/task").iterdir():
        status = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
        takes_it = not int(status["SigBlk"], 16) >> (number - 1) & 1
        if (
            int(task.name) != pid
            and takes_it
            and not system_call(TGKILL[platform.machine()], pid, int(task.name), number)
        ):
            return
    raise AssertionError(f"process {pid} has no other thread that takes signal {number}")
