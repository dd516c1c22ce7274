"""Folders for temporary files, which outlive no agent for long: one that was killed is tidied up after by the next.

Some libraries take files only. A folder's name says whose it is: the process, and when that began, because the numbers
of processes come again.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path

_PREFIX = "emflow-agent-"
_OWNED = re.compile(rf"{_PREFIX}(\d+)-(\d+)-")


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that only this user can look into, gone when it is left.

    Raises:
        OSError: there is no place for one.
    """
    pid = os.getpid()
    return tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{pid}-{_process_start_time(pid)}-")


def remove_orphaned_folders() -> None:
    """Remove the folders of processes that are gone, as far as they are ours to remove."""
    with contextlib.suppress(OSError):
        for folder in Path(tempfile.gettempdir()).iterdir():
            owner = _OWNED.match(folder.name)
            if owner and _process_start_time(int(owner[1])) != int(owner[2]) and folder.lstat().st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)


def _process_start_time(pid: int) -> int:
    """When a process began, in clock ticks after the machine did (proc(5), stat, field 22); 0 when there is none."""
    try:
        # The name, in brackets before it, may hold anything.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
