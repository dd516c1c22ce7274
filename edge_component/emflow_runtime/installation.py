"""Installs the packages of a bundle: checked first, then under another name, and complete or not at all.

The bundle is a folder with `board.json` (what the packages are for), `requirements.txt` (with hashes), `wheels/`, and a
wheel of pip, which runs from its file. Nothing is downloaded or compiled, and no other user is needed.

What it prints on standard error is one sentence about what is wrong, and how to mend it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from emflow_runtime import folder as folders
from emflow_runtime.image_packages import missing, name_of

MACHINES = {"aarch64": "aarch64", "arm64": "aarch64", "x86_64": "amd64", "amd64": "amd64"}
"""What Linux calls a machine, to what Greengrass calls it."""
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
AGAIN = "of the workflow, run `emflow lock`, and apply again"
_IMPORTS = (
    "import sys; sys.path.insert(0, sys.argv[1])\n"
    "from emflow_runtime.import_check import main\n"
    "main(sys.argv[2], sys.argv[3], sys.argv[4:])\n"
)
_PIP = (
    "import runpy, sys, sysconfig; sysconfig._PIP_USE_SYSCONFIG = True\n"
    "sys.path.insert(0, sys.argv.pop(1))\n"
    "runpy.run_module('pip', run_name='__main__', alter_sys=True)\n"
)
"""Runs pip from its wheel. On Python 3.9, and where a distribution asks for it, pip would import distutils, for which
Debian has a package of its own: https://packages.debian.org/bullseye/python3-distutils.
https://github.com/pypa/pip/issues/10647"""
_POLL = 0.5


class Refused(Exception):
    """The packages cannot be installed: one sentence that says why, and how to mend it."""


def run(bundle: str, board: Mapping[str, Any], arguments: Sequence[str]) -> int:
    """Install the bundle's packages into the work folder that the command line names; the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python3 install.py WORK_FOLDER\n")
        return 2
    try:
        _install(Path(bundle), board, Path(arguments[0]))
    except Refused as refused:
        sys.stderr.write(f"emflow: {refused}\n")
        return 1
    except OSError as error:
        full = error.errno in NO_SPACE
        what = _no_space(Path(arguments[0]), board) if full else f"the packages cannot be installed: {error}"
        sys.stderr.write(f"emflow: {what}\n")
        return 1
    return 0


def _install(bundle: Path, board: Mapping[str, Any], work: Path) -> None:
    check_machine(board)
    work.mkdir(parents=True, exist_ok=True)
    with _alone(work) as descriptor:
        of_image = check_image(board)
        target = work / board["digest"]
        if folders.read_complete(target):
            say(f"the packages are there: {target}")
        else:
            try:
                _make(bundle, board, target, descriptor)
                folders.write_complete(target, {**board, "image": of_image})
            except BaseException:
                folders.remove_unused(target)  # a full disk would stay full
                raise
            say(f"the packages are complete: {target}")
        for other in folders.others(work, board["digest"]):
            _remove(other)


def _remove(other: Path) -> None:
    why = folders.remove_unused(other)
    say(f"{other.name}, of an earlier version, is {f'still there: {why}' if why else 'removed'}")


def check_machine(board: Mapping[str, Any]) -> None:
    """Whether the wheels are for this processor and C library.

    Raises:
        Refused: they are not.
    """
    if not board["wheels"]:
        return
    machine = MACHINES.get(platform.machine().lower(), platform.machine())
    if sys.maxsize < 2**32:
        machine += " with a Python of 32 bits"
    if machine != board["architecture"]:
        raise Refused(
            f"this board is {machine}, and the packages are for {board['architecture']}; write its architecture under "
            f"edge.board {AGAIN}"
        )
    found, wanted = glibc(), board["glibc"]
    if not found:
        raise Refused(f"this board has no glibc, and the packages need glibc {wanted}; use packages: image")
    if _numbers(found) < _numbers(wanted):
        raise Refused(
            f'this board has glibc {found}, and the packages need {wanted}; write glibc: "{found}" under edge.board '
            f"{AGAIN}"
        )


def glibc() -> str:
    """The version of the C library; empty where it is another one."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (OSError, ValueError):
        return ""
    return version if name == "glibc" else ""


def check_image(board: Mapping[str, Any]) -> dict[str, str]:
    """The image's packages, by name and version, that the workflow leaves to it.

    Raises:
        Refused: one is missing, or is there in another version.
    """
    found: dict[str, str] = {}
    needed = {name_of(each): each for each in board["requirements"]} if board["packages"] == "image" else {}
    lacks = list(missing(board["provides"], needed, board["modules"], found))
    if lacks:
        raise Refused(f"{'; '.join(lacks)}; correct edge.board {AGAIN}, or change the image")
    return found


def _make(bundle: Path, board: Mapping[str, Any], target: Path, descriptor: int) -> None:
    """The folder with the packages, which is not marked as complete yet."""
    partial = target.with_name(target.name + folders.PARTIAL)
    for left in (partial, target):  # of an installation that was killed
        if left.exists():
            shutil.rmtree(left)
    _make_room(target, board["bytes"])
    if shutil.disk_usage(target.parent).free < board["bytes"]:
        raise Refused(_no_space(target.parent, board))
    say(f"installing {len(board['wheels'])} packages, {board['bytes'] // 1_000_000} MB, into {target}")
    started = time.monotonic()
    partial.mkdir()
    try:
        if board["wheels"]:
            _run_pip(bundle, board, partial, descriptor)
        for module in board["blocked"]:
            _block(partial, module)
        _check_imports(bundle, board, partial)
        folders.take_over(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    say(f"installed in {time.monotonic() - started:.0f} s")


def _make_room(target: Path, needed: int) -> None:
    """Remove what no program can use; where `needed` bytes are not free then, also versions that no program uses,
    the oldest first. The newest one stays: Greengrass goes back to it when this deployment fails."""
    complete = []
    for other in folders.others(target.parent, target.name):
        made = folders.time_of_completion(other)
        if made is None:
            _remove(other)
        else:
            complete.append((made, other))
    for _, other in sorted(complete)[:-1]:
        if shutil.disk_usage(target.parent).free >= needed:
            return
        _remove(other)


def _run_pip(bundle: Path, board: Mapping[str, Any], partial: Path, descriptor: int) -> None:
    temporary = partial / ".tmp"  # on the same disk: pip moves from there, and /tmp may be small and in memory
    temporary.mkdir()
    # The lock was made for this Python; its resolver takes no notice of upper bounds, as of a backport (`<3.11`) that
    # another package asks for everywhere. What does not work is found by importing it.
    command = [
        *(sys.executable, "-I", "-c", _PIP, str(next(iter(bundle.glob("pip-*.whl")))), "install", "--quiet"),
        *("--isolated", "--no-index", "--find-links", str(bundle / "wheels"), "--only-binary", ":all:"),
        *("--require-hashes", "--no-deps", "--ignore-requires-python", "--no-compile", "--no-cache-dir", "--no-input"),
        *("--disable-pip-version-check", "--no-warn-script-location", "--root-user-action", "ignore"),
        *("--target", str(partial), "--requirement", str(bundle / "requirements.txt")),
    ]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    environment = {**kept, "TMPDIR": str(temporary), "PIP_CONFIG_FILE": os.devnull}
    # It holds the lock, too: when this process alone is killed, the next installation waits for the end of pip.
    done = subprocess.run(
        command,
        check=False,
        env=environment,
        cwd=temporary,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=(descriptor,),
    )
    if done.returncode:
        shutil.rmtree(partial, ignore_errors=True)
        if any(f"[Errno {number}]" in done.stdout for number in NO_SPACE):
            raise Refused(_no_space(partial.parent, board))
        raise Refused(f"pip could not install the packages: {_reason(done.returncode, done.stdout)}")
    shutil.rmtree(temporary)


def _block(partial: Path, module: str) -> None:
    """A module that stands before the image's one of this name, which was built against another numpy."""
    text = f"{module} of this image is not used: its numpy is not, and edge.board.provides does not name them"
    (partial / f"{module}.py").write_text(f"raise ModuleNotFoundError({text!r}, name={module!r})\n", encoding="utf-8")


def _check_imports(bundle: Path, board: Mapping[str, Any], packages: Path) -> None:
    """Import everything once. This also compiles what the components will import."""
    modules = sorted(board["modules"].values())
    if not modules:
        return
    command = [sys.executable, "-I", "-c", _IMPORTS, str(bundle), str(packages), board["packages"], *modules]
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode:
        raise Refused(f"the packages cannot be imported on this board: {_reason(done.returncode, done.stdout)}")


def _reason(code: int, output: str) -> str:
    """The last thing that a program said, or the signal that ended it."""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"ended by {signal.Signals(-code).name}"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.match("ERROR|[A-Za-z.]*Error", line)]
    return (errors or lines or [f"exit code {code}"])[-1]


def _no_space(work: Path, board: Mapping[str, Any]) -> str:
    free = shutil.disk_usage(work).free
    return (
        f"not enough disk space for the packages in {work}: {board['bytes']} bytes are needed, {free} are free; make "
        "room there, and deploy again"
    )


@contextlib.contextmanager
def _alone(work: Path) -> Iterator[int]:
    """Wait until no other installation runs in this work folder; the descriptor of its lock."""
    descriptor = os.open(work / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        waiting = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waiting:
                    say("waiting for an earlier installation to end")
                waiting = True
                time.sleep(_POLL)
        yield descriptor
    finally:
        os.close(descriptor)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def say(text: str) -> None:
    """A line for the component's log."""
    sys.stdout.write(f"emflow: {text}\n")
    sys.stdout.flush()
