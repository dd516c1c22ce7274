"""Temporary folders for libraries that read files only; those that a killed agent left behind are removed later.

The name of a folder holds the process id and the start time of its process, because process ids are reused.
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
    """A folder that only this user can open; it is removed when the context ends.

    Raises:
        OSError: it cannot be created.
    """
    pid = os.getpid()
    return tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{pid}-{_process_start_time(pid)}-")


def remove_orphaned_folders() -> None:
    """Remove the folders of processes that no longer run, if they belong to this user."""
    with contextlib.suppress(OSError):
        for folder in Path(tempfile.gettempdir()).iterdir():
            owner = _OWNED.match(folder.name)
            if owner and _process_start_time(int(owner[1])) != int(owner[2]) and folder.lstat().st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)


def _process_start_time(pid: int) -> int:
    """Start time of a process in clock ticks since boot (proc(5), stat, field 22); 0 when there is no such process."""
    try:
        # The process name before it, in parentheses, may contain any characters.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
