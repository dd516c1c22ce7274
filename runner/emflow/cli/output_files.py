"""Files that commands write: whole or not at all, so that a full disk costs nobody the good one that was there."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from stat import S_IMODE, S_ISREG

from emflow.problems import Problem

DESCRIPTORS = ("/dev/", "/proc/")
"""`/dev/stdout` and its like: what is behind them is open already, and must stay the same file."""


def write_whole(path: Path, data: bytes, *, mend: str, private: bool = False, folder: bool = False) -> None:
    """Write a file beside its place and put it there in one step.

    A file that was there keeps its permissions, and its link if it was behind one. What is no file (a pipe, a
    terminal) is written into as it is.

    Args:
        mend: what to do when that cannot be done.
        folder: make the folder it goes to, where there is none.
        private: for nobody but whoever runs this, from its first byte on.

    Raises:
        Problem: it cannot be written; what was there is as it was.
    """
    try:
        if folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, data, private=private)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or error
        raise Problem(f"cannot be written: {why}", where=str(path), mend=mend) from error


def _write(path: Path, data: bytes, *, private: bool) -> None:
    try:
        there = path.stat()
    except FileNotFoundError:
        there = None
    if there and (not S_ISREG(there.st_mode) or os.path.abspath(path).startswith(DESCRIPTORS)):  # noqa: PTH100
        path.write_bytes(data)
        return
    if there and not os.access(path, os.W_OK):  # a replacement would not ask
        raise PermissionError(13, "Permission denied")
    target = Path(os.path.realpath(path))
    beside = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}")
    mode = 0o600 if private or there else 0o666
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(data)
            file.flush()
            if there and not private:
                os.fchmod(file.fileno(), S_IMODE(there.st_mode))
            os.fsync(file.fileno())
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
