"""Writes the events of a run: as text for people, or as JSON lines for programs.

On a terminal, text is one line for each completed resource, and a live tree of what is running. Without a terminal, as
in CI, every event is one line with the time since the start, so that a log shows where the time went.
"""

from __future__ import annotations

import sys
import threading
import time
from datetime import UTC, datetime
from itertools import groupby
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from emflow.cli.signals import REASONS
from emflow.engine.events import (
    Done,
    Event,
    Failed,
    Finished,
    Left,
    Planned,
    Skipped,
    Started,
    Stopping,
    Waiting,
    Warned,
    event_as_json,
)
from emflow.engine.plan_text import group_of
from emflow.engine.resource import Action
from emflow.json_text import to_json
from emflow.problems import printable
from emflow.workflow.redaction import redacted

SIGNS = {Action.CREATE: "+", Action.UPDATE: "~", Action.REPLACE: "±", Action.NONE: "=", Action.REMOVE: "-", None: "-"}
STYLES = {Action.CREATE: "green", Action.UPDATE: "yellow", Action.REPLACE: "magenta", Action.REMOVE: "red", None: "red"}
ROLLOUT = "deployment/rollout"
"""Waiting for the devices: not a change of a resource, so it has no sign."""


class Progress:
    """Prints the events of one run for people; a context manager. `show` may be called from any thread."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._running: dict[str, _Running] = {}
        self._planned = self._done = 0
        self._stopping = self._has_started = False
        # The tree is rendered on a timer, not for each event, because it shows running times.
        self._live = (
            Live(console=console, refresh_per_second=8, transient=True, get_renderable=self._tree)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def show(self, event: Event) -> None:
        """Print one event."""
        with self._lock:
            lines = self._lines(event)
        for line in lines:
            self._console.print(line, soft_wrap=True)

    def _lines(self, event: Event) -> list[Text]:
        match event:
            case Planned(plan):
                self._planned, self._has_started = len(plan.changes), True
            case Started(resource, action):
                self._has_started = True
                self._running[resource] = _Running(_sign(resource, action), time.monotonic())
                if not self._live and resource != ROLLOUT:
                    return [self._line(f"{_sign(resource, action)} {resource}")]
            case Waiting(resource, state, reason):
                state = f"{state}: {reason}" if reason else state
                if resource in self._running:
                    self._running[resource].state = state
                if not self._live:
                    return [self._line(f"… {resource}  {state}")]
            case Done(resource, action, seconds):
                self._running.pop(resource, None)
                self._done += 1
                return [self._line(f"✓ {resource}  {seconds:.1f} s", STYLES.get(action, ""), mark="green")]
            case Failed(resource) if resource == ROLLOUT:
                self._running.pop(resource, None)
                return [self._line(f"✗ {resource}  failed", mark="bold red")]  # the run ends with the reason
            case Failed(resource, problem):
                self._running.pop(resource, None)
                return [self._line(f"✗ {resource}  {problem.what}", mark="bold red")]
            case Skipped(resource, because):
                return [self._line(f"· {resource}  not tried, because of {because}", "dim")]
            case Left(resource, state, seconds):
                self._running.pop(resource, None)
                return [self._line(f"◌ {resource}  left after {seconds:.1f} s, {state or 'waiting'}", "yellow")]
            case Stopping(why):
                self._stopping = True
                return self._stop_lines(why) if self._has_started else []
            case Warned(message, mend, code=""):
                return [self._line(f"! {message}" + (f": {mend}" if mend else ""), "yellow", mark="bold yellow")]
            case Warned():
                pass  # a warning of a rule, which the command has printed to standard error already
            case Finished():
                pass  # the command prints its own summary
        return []

    def _stop_lines(self, why: str) -> list[Text]:
        again = "a second one" if why in REASONS.values() else "Ctrl-C"  # a time limit occurs only once
        lines = [f"! {why}: nothing new is started; {again} ends the run at once"]
        lines += [
            f"! in flight: {resource}  {_elapsed(running.since)}  {running.state}".rstrip()
            for resource, running in self._running.items()
        ]
        return [self._line(line, "yellow") for line in lines]

    def _line(self, text: str, style: str = "", mark: str = "") -> Text:
        line = Text(printable(redacted(text), lines=True), style=style if self._console.is_terminal else "")
        if mark:
            line.stylize(mark, 0, 1)
        if not self._live:
            line = Text(f"{time.monotonic() - self._started:6.1f} s  ").append(line)
        return line

    def _tree(self) -> Table:
        """The running resources by group, with running time and state."""
        tree = Table.grid(padding=(0, 1))
        with self._lock:
            running = sorted(self._running.items(), key=lambda item: group_of(item[0]))
            for name, members in groupby(running, key=lambda item: group_of(item[0])):
                tree.add_row("", Text(name, style="bold"), "", "")
                for resource, each in members:
                    label = Text(f"  {each.sign} {resource.partition('/')[2] or resource}")
                    tree.add_row(each.spinner, label, Text(_elapsed(each.since)), Text(each.state, style="dim"))
            if self._planned:
                summary = "stopping" if self._stopping else f"{self._done} of {self._planned}"
                tree.add_row("", Text(summary, style="dim"), Text(_elapsed(self._started), style="dim"), "")
        return tree


class _Running:
    """A running resource. It keeps its spinner, which holds the animation's state."""

    def __init__(self, sign: str, since: float) -> None:
        self.sign = sign
        self.since = since
        self.state = ""
        self.spinner = Spinner("dots")


def _elapsed(since: float) -> str:
    """Time since then: `7 s`, or `2:05` from one minute on."""
    seconds = int(time.monotonic() - since)
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60}:{seconds % 60:02}"


def _sign(resource: str, action: Action | None) -> str:
    return "…" if resource == ROLLOUT else SIGNS[action]


class EventOutput(Protocol):
    """A context manager that takes events, from any thread."""

    def __enter__(self) -> EventOutput: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, event: Event) -> None:
        """Write one event."""


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
        line = to_json(event_as_json(event, datetime.now(UTC)), ascii_only=False)
        with self._lock:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


def event_output(console: Console, *, json_lines: bool) -> EventOutput:
    """The output for a command, with or without `--json`."""
    return JsonLines() if json_lines else Progress(console)
