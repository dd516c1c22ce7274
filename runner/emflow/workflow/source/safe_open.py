"""The one way in which a file that a user names is opened: nothing that could be read without end, or hang."""

from __future__ import annotations

import os
from pathlib import Path
from stat import S_ISDIR, S_ISFIFO, S_ISREG
from typing import BinaryIO

from emflow.problems import Problem

HANDED = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
"""Where a shell puts a pipe that it holds open for this process: `<(command)` and `… | emflow`."""


def open_regular(path: Path, most: int, *, piped: bool = False) -> BinaryIO:
    """Open a regular file of at most `most` bytes for reading.

    Args:
        piped: a pipe from the shell is taken, too; how much comes out of it, nobody knows beforehand.

    Raises:
        Problem: it is a device, a pipe, a socket or a folder, or larger.
        OSError: it is not there, or cannot be opened.
        ValueError: no file can be called that (a NUL in the name).
    """
    handed = piped and str(path).startswith(HANDED)
    # Without O_NONBLOCK the opening of a pipe waits for whoever writes into it; of a regular file it changes nothing.
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if handed else os.O_NONBLOCK))
    try:
        stat = os.fstat(opened)
        if not (S_ISREG(stat.st_mode) or (handed and S_ISFIFO(stat.st_mode))):
            what = "a folder, no file" if S_ISDIR(stat.st_mode) else "no file, but a device or a pipe"
            raise Problem(what, where=str(path), mend="give the path of a file")
        if stat.st_size > most:
            raise Problem(f"more than {most // 2**20} MiB", where=str(path), mend="give the file that was meant")
        return os.fdopen(opened, "rb")
    except BaseException:
        os.close(opened)
        raise


def read_regular(path: Path, most: int) -> bytes:
    """What is in a regular file of at most `most` bytes. Raises as `open_regular` does."""
    with open_regular(path, most) as file:
        data = file.read(most + 1)
    if len(data) > most:  # it grew, or /proc told no size
        raise Problem(f"more than {most // 2**20} MiB", where=str(path), mend="give the file that was meant")
    return data


def read_text(path: Path, most: int) -> str:
    """As `read_regular`, as UTF-8 text; a mark of byte order in front is left out.

    Raises:
        UnicodeDecodeError: it is none; and as `open_regular` does.
    """
    return read_regular(path, most).decode("utf-8-sig")
