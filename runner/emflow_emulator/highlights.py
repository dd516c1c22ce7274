"""Selects the lines of a core device's logs that `emflow up` shows: progress, warnings and errors.

The core device writes one log for each component, in the nucleus's format; they are followed as `tail -F` would do it.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_TELLING = re.compile(
    r"Server listening on|Model:.* loaded!|Current deployment finished|camera|stream \S+: |agent: ", re.IGNORECASE
)
_LINE = re.compile(
    r"^\S+ \[(?P<level>[A-Z]+)\] \([^)]*\) (?P<who>[^:]+): (?:std(?:out|err)\. )?(?P<text>.*?)\.?(?: \{[^{}]*\})?$"
)
_OWN = re.compile(r"^\[?\d{4}-\d\d-\d\d[T ][\d:.,]+Z?\]? ?\[(?P<level>[A-Z]+)\] ?")
"""The time and level that a component writes itself; the line begins with those of the core device already."""
_BAD = {"WARN", "WARNING", "W", "ERROR", "E"}


@dataclass(frozen=True)
class Highlight:
    """One line to show. `level` is I, W or E."""

    component: str
    level: str
    text: str


def highlight(component: str, line: str) -> Highlight | None:
    """The line as a highlight; None when it is not to be shown. Warnings and errors are always shown."""
    match = _LINE.match(line)
    level, text = (match["level"], match["text"]) if match else ("INFO", line)
    own = _OWN.match(text)
    if own is not None:
        level, text = own["level"], text[own.end() :]
    if level not in _BAD and not _TELLING.search(text):
        return None
    return Highlight(component, level[0], text.strip())


class Follower:
    """Follows every log of a core device and passes the highlights to `show`, from its own thread."""

    def __init__(self, logs: Path, show: Callable[[Highlight], None], period: float = 0.2) -> None:
        self._logs = logs
        self._show = show
        self._period = period
        self._read: dict[Path, tuple[int, int]] = {}
        """For each log: the inode of the file, and how many bytes of it have been read."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-follower", daemon=True)

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.look()

    def look(self) -> None:
        """Show the highlights that were written since the last call."""
        for path in sorted(self._logs.glob("*.log")):
            with contextlib.suppress(FileNotFoundError):  # rotated or removed just now
                self._look_at(path)

    def _look_at(self, path: Path) -> None:
        with path.open("rb") as log:
            status = os.fstat(log.fileno())
            file, offset = self._read.get(path, (status.st_ino, 0))
            if file != status.st_ino or status.st_size < offset:  # a new file after rotation
                offset = 0
            log.seek(offset)
            data = log.read()
        # An incomplete last line is read again later.
        whole = data[: data.rfind(b"\n") + 1]
        self._read[path] = (status.st_ino, offset + len(whole))
        for line in whole.decode(errors="replace").splitlines():
            found = highlight(path.stem, line)
            if found is not None:
                self._show(found)

    def _run(self) -> None:
        while not self._stop.wait(self._period):
            self.look()
