"""Where the events of a run go: shown to people, or written as JSON lines for programs."""

from __future__ import annotations

import json
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

from emflow.cli.signals import WHY
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
    as_json,
)
from emflow.engine.plan_text import room
from emflow.engine.resource import Action
from emflow.problems import printable
from emflow.workflow.redaction import redacted

# Showing events as they come: a line for what is done and a live tree of what runs, or plain lines without a
# terminal.
#
# In CI and in files every event is one line with the time since the start, so that a log tells where the minutes
# went.


SIGN = {Action.CREATE: "+", Action.UPDATE: "~", Action.REPLACE: "±", Action.NONE: "=", Action.REMOVE: "-", None: "-"}
STYLE = {Action.CREATE: "green", Action.UPDATE: "yellow", Action.REPLACE: "magenta", Action.REMOVE: "red", None: "red"}
SINGLE = "deployment/rollout"
"""No change of a resource, and shown without a sign."""


class Progress:
    """Shows the events of one run, between `with` and its end. `show` may be called from any thread."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._running: dict[str, _Running] = {}
        self._planned = self._done = 0
        self._stopping = self._begun = False
        # The tree is made anew for each picture, not for each event: its clocks go on while nothing happens.
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
        """Show one event."""
        with self._lock:
            lines = self._take(event)
        for line in lines:
            self._console.print(line, soft_wrap=True)

    def _take(self, event: Event) -> list[Text]:
        match event:
            case Planned(plan):
                self._planned, self._begun = len(plan.changes), True
            case Started(resource, action):
                self._begun = True
                self._running[resource] = _Running(_sign(resource, action), time.monotonic())
                if not self._live and resource != SINGLE:
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
                return [self._line(f"✓ {resource}  {seconds:.1f} s", STYLE.get(action, ""), mark="green")]
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
                return self._stop_lines(why) if self._begun else []
            case Warned(message, mend, code=""):
                return [self._line(f"! {message}" + (f": {mend}" if mend else ""), "yellow", mark="bold yellow")]
            case Warned():
                pass  # a rule's: whoever read the workflow has told it on standard error
            case Finished():
                pass  # what a person wants to know of the end is said by whoever ends it
        return []

    def _stop_lines(self, why: str) -> list[Text]:
        again = "once more" if why in WHY.values() else "Ctrl-C"  # a time limit comes but once
        lines = [f"! {why}: nothing new begins; {again} ends it at once"]
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
            line = Text(f"{time.monotonic() - self._began:6.1f} s  ").append(line)
        return line

    def _tree(self) -> Table:
        """What runs, by room, with how long it has been running and its state."""
        tree = Table.grid(padding=(0, 1))
        with self._lock:
            running = sorted(self._running.items(), key=lambda item: room(item[0]))
            for name, members in groupby(running, key=lambda item: room(item[0])):
                tree.add_row("", Text(name, style="bold"), "", "")
                for resource, each in members:
                    label = Text(f"  {each.sign} {resource.partition('/')[2] or resource}")
                    tree.add_row(each.spinner, label, Text(_elapsed(each.since)), Text(each.state, style="dim"))
            if self._planned:
                words = "stopping" if self._stopping else f"{self._done} of {self._planned}"
                tree.add_row("", Text(words, style="dim"), Text(_elapsed(self._began), style="dim"), "")
        return tree


class _Running:
    """What runs now. The spinner is kept, because it remembers how far it has turned."""

    def __init__(self, sign: str, since: float) -> None:
        self.sign = sign
        self.since = since
        self.state = ""
        self.spinner = Spinner("dots")


def _elapsed(since: float) -> str:
    """`7 s`, or `2:05` from a minute on."""
    seconds = int(time.monotonic() - since)
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60}:{seconds % 60:02}"


def _sign(resource: str, action: Action | None) -> str:
    return "…" if resource == SINGLE else SIGN[action]


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
