"""What a run that is asked to stop says of ending it sooner."""

from __future__ import annotations

import io
import signal

import pytest
from rich.console import Console

from emflow.cli.event_output import Progress
from emflow.cli.signals import REASONS
from emflow.engine.events import Started, Stopping
from emflow.engine.resource import Action


@pytest.mark.parametrize(
    ("why", "again"),
    [
        (REASONS[signal.SIGINT], "a second one"),
        (REASONS[signal.SIGTERM], "a second one"),
        ("not done within 90s", "Ctrl-C"),
    ],
)
def test_the_advice_how_to_end_at_once_fits_the_reason(why: str, again: str) -> None:
    shown = io.StringIO()
    progress = Progress(Console(file=shown, width=200))
    with progress:
        progress.show(Started("model/compilation", Action.CREATE))
        progress.show(Stopping(why))
    assert f"! {why}: nothing new is started; {again} ends the run at once" in shown.getvalue()
