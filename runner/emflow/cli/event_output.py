"""Where the events of a run go: shown to people, or written as JSON lines for programs."""

from __future__ import annotations

import json
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol

from rich.console import Console

from emflow.cli.progress import Progress
from emflow.engine.event_json import as_json
from emflow.engine.events import Event


class Report(Protocol):
    """Takes events from any thread, between `with` and its end."""

    def __enter__(self) -> Report: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, event: Event) -> None:
        """Take one event."""


class JsonLines:
    """Writes each event as one line to standard output."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, event: Event) -> None:
        line = json.dumps(as_json(event, datetime.now(UTC)), ensure_ascii=False)
        with self._lock:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


def report(console: Console, *, json_lines: bool) -> Report:
    """The one that was asked for."""
    return JsonLines() if json_lines else Progress(console)
