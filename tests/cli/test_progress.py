"""What a run that is asked to stop says of ending it sooner."""

from __future__ import annotations

import io
import signal

import pytest
from rich.console import Console

from emflow.cli.event_output import Progress
from emflow.cli.signals import WHY
from emflow.engine.events import Started, Stopping
from emflow.engine.resource import Action


@pytest.mark.parametrize(
    ("why", "again"),
    [(WHY[signal.SIGINT], "once more"), (WHY[signal.SIGTERM], "once more"), ("not done within 90s", "Ctrl-C")],
)
def test_what_ends_it_at_once_can_be_done(why: str, again: str) -> None:
    shown = io.StringIO()
    progress = Progress(Console(file=shown, width=200))
    with progress:
        progress.show(Started("model/compilation", Action.CREATE))
        progress.show(Stopping(why))
    assert f"! {why}: nothing new begins; {again} ends it at once" in shown.getvalue()
