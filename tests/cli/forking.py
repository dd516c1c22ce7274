"""`emflow …` in forks of one interpreter that has imported it all: a process for each command, without its start.

Run as a program, this file is that interpreter. Its standard input is a Unix stream socket, over which it takes one
command after another as three file descriptors: a JSON document with arguments, folder and environment, and where
standard output and standard error go. It answers with the exit code, one line.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

PACKAGES = ("emflow.cli", "emflow.engine", "emflow.recipes", "emflow.resources", "emflow.results", "emflow.workflow")


def read_at_start() -> dict[str, str]:
    """The variables of the environment that an interpreter reads when it starts, and never again."""
    return {name: value for name, value in os.environ.items() if name.startswith(("PYTHON", "LC_", "LANG", "TZ"))}


class Forking:
    """The interpreter that is forked, as a test has it."""

    def __init__(self) -> None:
        self._environment = read_at_start()
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._popen = subprocess.Popen([sys.executable, __file__], stdin=theirs.fileno(), stdout=subprocess.DEVNULL)
        self._answers = self._socket.makefile("r")

    def can_run(self) -> bool:
        """Whether a process that is started now would have the same Python settings."""
        return read_at_start() == self._environment

    def run(self, args: Sequence[str], folder: Path, timeout: float) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of `emflow` with these arguments.

        Args:
            timeout: seconds after which it is killed, which makes the exit code -9.
        """
        with contextlib.ExitStack() as opened:
            request, out, err = (opened.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            document = {"args": list(args), "folder": str(folder), "environment": dict(os.environ), "timeout": timeout}
            request.write(json.dumps(document).encode())
            request.seek(0)
            socket.send_fds(self._socket, [b"\n"], [each.fileno() for each in (request, out, err)])
            return int(self._answers.readline()), _text(out), _text(err)

    def close(self) -> None:
        self._answers.close()
        self._socket.close()
        self._popen.wait(60)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _serve() -> None:
    """Fork for each command until the other end of the socket is closed; in a fork, run the command."""
    sys.path.pop(0)  # the folder of this file
    for package in PACKAGES:
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
            importlib.import_module(module.name)
    gc.freeze()  # a fork that ends would look through all that, and copy it by doing so
    link = socket.socket(fileno=os.dup(0))
    while True:
        _, files, *_ = socket.recv_fds(link, 1, 3)
        if not files:
            return
        with os.fdopen(files[0], encoding="utf-8") as file:
            request = json.load(file)
        pid = os.fork()
        if not pid:
            link.close()
            _become(request, *files[1:])
            return
        for each in files[1:]:
            os.close(each)
        ended = os.pidfd_open(pid)
        if not select.select([ended], [], [], request["timeout"])[0]:
            os.kill(pid, signal.SIGKILL)
        os.close(ended)
        link.sendall(b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _become(request: dict[str, Any], out: int, err: int) -> None:
    """Go on as `python -m emflow` with these arguments."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate((nothing, out, err)):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    random.seed()
    sys.argv[1:] = request["args"]
    runpy.run_module("emflow", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _serve()
