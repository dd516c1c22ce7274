"""Showing events as they come: a line for what is done and a live one for what runs, or plain lines without a terminal.

In CI and in files every event is one line with the time since the start, so that a log tells where the minutes went.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from emflow.engine.events import Done, Event, Failed, Planned, Skipped, Started, Waiting
from emflow.engine.resource import Action

SIGN = {Action.CREATE: "+", Action.UPDATE: "~", Action.REPLACE: "±", Action.NONE: "=", None: "-"}
STYLE = {Action.CREATE: "green", Action.UPDATE: "yellow", Action.REPLACE: "magenta", None: "red"}
SINGLE = "deployment/rollout"
"""No change of a resource, and shown without a sign."""


class Progress:
    """Shows the events of one run, between `with` and its end. `show` may be called from any thread."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._running: dict[str, _Running] = {}
        self._live = Live(console=console, refresh_per_second=8, transient=True) if console.is_terminal else None

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def show(self, event: Event) -> None:
        """Show one event."""
        with self._lock:
            self._take(event)
            if self._live:
                self._live.update(self._table())

    def _take(self, event: Event) -> None:
        match event:
            case Planned():
                pass
            case Started(resource, action):
                self._running[resource] = _Running(_sign(resource, action), time.monotonic())
                if not self._live and resource != SINGLE:
                    self._line(f"{_sign(resource, action)} {resource}")
            case Waiting(resource, state, reason):
                state = f"{state}: {reason}" if reason else state
                if resource in self._running:
                    self._running[resource].state = state
                if not self._live:
                    self._line(f"… {resource}  {state}")
            case Done(resource, action, seconds):
                self._running.pop(resource, None)
                self._line(f"✓ {resource}  {seconds:.1f} s", STYLE.get(action, ""), mark="green")
            case Failed(resource, problem):
                self._running.pop(resource, None)
                self._line(f"✗ {resource}  {problem.what}", mark="bold red")
            case Skipped(resource, because):
                self._line(f"· {resource}  not tried, because of {because}", "dim")

    def _line(self, text: str, style: str = "", mark: str = "") -> None:
        line = Text(text, style=style if self._console.is_terminal else "")
        if mark:
            line.stylize(mark, 0, 1)
        if not self._live:
            line = Text(f"{time.monotonic() - self._began:6.1f} s  ").append(line)
        self._console.print(line, soft_wrap=True)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for resource, running in self._running.items():
            table.add_row(running.spinner, Text(f"{running.sign} {resource}"), Text(running.state, style="dim"))
        return table


class _Running:
    """What runs now. The spinner is kept, because it remembers how far it has turned."""

    def __init__(self, sign: str, since: float) -> None:
        self.sign = sign
        self.since = since
        self.state = ""
        self.spinner = Spinner("dots")


def _sign(resource: str, action: Action | None) -> str:
    return "…" if resource == SINGLE else SIGN[action]
