"""Opens files that a user names: only regular files of limited size, so that reading always ends."""

from __future__ import annotations

import os
from pathlib import Path
from stat import S_ISDIR, S_ISFIFO, S_ISREG
from typing import BinaryIO

from emflow.problems import Problem

SHELL_PIPES = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
"""Paths of pipes that a shell opens for this process: `<(command)` and `… | emflow`."""


def open_regular(path: Path, max_bytes: int, *, allow_pipe: bool = False) -> BinaryIO:
    """Open a regular file of at most `max_bytes` bytes for reading.

    Args:
        allow_pipe: also accept a pipe from the shell. Its size is unknown: the caller has to limit what it reads.

    Raises:
        Problem: it is a device, a pipe, a socket or a folder, or larger than `max_bytes`.
        OSError: it does not exist, or cannot be opened.
        ValueError: the name has a NUL in it.
    """
    from_shell = allow_pipe and str(path).startswith(SHELL_PIPES)
    # Without O_NONBLOCK, opening a pipe waits for a writer. For regular files the flag has no effect.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if from_shell else os.O_NONBLOCK))
    try:
        stat = os.fstat(descriptor)
        if not (S_ISREG(stat.st_mode) or (from_shell and S_ISFIFO(stat.st_mode))):
            what = "is a folder, not a file" if S_ISDIR(stat.st_mode) else "is not a file, but a device or a pipe"
            raise Problem(what, where=str(path), mend="give the path of a file")
        if stat.st_size > max_bytes:
            raise _too_large(path, max_bytes)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file of at most `max_bytes` bytes. Raises as `open_regular` does."""
    with open_regular(path, max_bytes) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:  # it has grown, or it is a file of /proc, whose size reads as 0
        raise _too_large(path, max_bytes)
    return data


def read_text(path: Path, max_bytes: int) -> str:
    """As `read_regular`, decoded as UTF-8, without a byte order mark.

    Raises:
        UnicodeDecodeError: it is not UTF-8; and as `open_regular` does.
    """
    return read_regular(path, max_bytes).decode("utf-8-sig")


def _too_large(path: Path, max_bytes: int) -> Problem:
    return Problem(
        f"is larger than {max_bytes // 2**20} MiB", where=str(path), mend="check that this is the right file"
    )
