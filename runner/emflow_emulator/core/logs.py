"""Log files in the nucleus's format: one for each component and one for the device.

A line: time (UTC, milliseconds), level, thread, logger, event and text, and the context in braces, as in
`2021-07-13T19:43:13.511Z [INFO] (Copier) NAME: stdout. TEXT. {scriptName=…, serviceName=NAME, currentState=RUNNING}`.
"""

from __future__ import annotations

import contextlib
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_LARGEST = 10 * 1024 * 1024
"""Bytes after which a new log file is started; the previous one is kept as `.old`."""


def line(when: datetime, level: str, thread: str, logger: str, text: str, context: dict[str, Any]) -> str:
    """A log line without a line break; line breaks in the text, as in scripts, are written as `\\n`."""
    time = when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}Z"
    inside = ", ".join(f"{key}={value}" for key, value in context.items())
    return f"{time} [{level}] ({thread}) {logger}: {text}. {{{inside}}}".replace("\n", "\\n")


class Log:
    """A log file to which several threads append whole lines.

    A line that cannot be written is lost: a full disk must not end the process that logs.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def write(self, level: str, thread: str, logger: str, text: str, **context: Any) -> None:
        entry = line(datetime.now(UTC), level, thread, logger, text, context) + "\n"
        with self._lock, contextlib.suppress(OSError):
            if self._path.exists() and self._path.stat().st_size > _LARGEST:
                self._path.replace(self._path.with_suffix(".old"))
            with self._path.open("a", encoding="utf-8", errors="replace") as file:
                file.write(entry)


class DeviceLog:
    """`greengrass.log`: the log of the device itself."""

    def __init__(self, path: Path) -> None:
        self._log = Log(path)

    def say(self, logger: str, text: str, *, level: str = "INFO", **context: Any) -> None:
        """Write a line. `logger`: the name of the nucleus's class below `com.aws.greengrass`, as AWS documents it."""
        self._log.write(level, threading.current_thread().name, f"com.aws.greengrass.{logger}", text, **context)
