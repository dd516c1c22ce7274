"""The folder of a version of the packages, `<work folder>/<lock digest>`: complete, in use, or to be removed.

It is made under another name and renamed. Only then it gets the file `complete`, so whoever sees that file has all of
the packages. Programs that use the folder hold a shared lock on `complete`; it is removed with an exclusive one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COMPLETE = "complete"
"""The file in it that is written last; JSON: the `board.json` of the bundle, and what was found of the image."""
PARTIAL = ".partial"
"""The ending of a folder that is not complete."""
DIGEST_LENGTH = 64


def read_complete(folder: Path) -> dict[str, Any] | None:
    """What is written in `complete`; None as long as the folder is not complete."""
    try:
        found = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def time_of_completion(folder: Path) -> float | None:
    """When a folder became complete, in seconds since 1970; None as long as it is not."""
    try:
        return (folder / COMPLETE).stat().st_mtime
    except OSError:
        return None


def write_complete(folder: Path, facts: dict[str, Any]) -> None:
    """Write `complete`, on the disk and not only in memory: power may fail at any time.

    Raises:
        OSError: it cannot be written.
    """
    temporary = folder / f".{COMPLETE}"
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(facts, file, indent=1, sort_keys=True, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(folder / COMPLETE)
    _sync(folder)


def take_over(partial: Path, folder: Path) -> None:
    """Give a finished folder its name, with everything in it on the disk.

    Raises:
        OSError: it cannot be renamed.
    """
    os.sync()
    partial.rename(folder)
    _sync(folder.parent)


def hold(folder: Path) -> int | None:
    """Keep a complete folder from being removed until this process ends.

    Returns:
        A file descriptor to keep open; None when the folder is not, or no longer, complete.
    """
    file = folder / COMPLETE
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    with contextlib.suppress(OSError):
        if os.path.samestat(os.fstat(descriptor), file.stat()):
            return descriptor
    os.close(descriptor)  # it was removed while this process waited
    return None


def others(work: Path, digest: str) -> Iterator[Path]:
    """The folders of other versions, complete or not."""
    for path in sorted(work.iterdir()):
        name = path.name.removesuffix(PARTIAL)
        if name != digest and len(name) == DIGEST_LENGTH and not set(name) - set("0123456789abcdef"):
            yield path


def remove_unused(folder: Path) -> str:
    """Remove a folder unless a program uses it.

    Returns:
        Why it is still there; empty when it is gone.
    """
    try:
        descriptor = os.open(folder / COMPLETE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return _removed(folder)
    except OSError as error:
        return str(error)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (folder / COMPLETE).unlink()  # first of all: nobody may take the rest for complete
        return _removed(folder)
    except BlockingIOError:
        return "a program uses it"
    except OSError as error:
        return str(error)
    finally:
        os.close(descriptor)


def _removed(folder: Path) -> str:
    try:
        shutil.rmtree(folder)
    except OSError as error:
        return str(error)
    return ""


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
