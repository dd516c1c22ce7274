"""What a run prints of its events: advice how to stop it sooner, and each failure once."""

from __future__ import annotations

import io
import signal

import pytest
from rich.console import Console

from emflow.cli.event_output import Progress
from emflow.cli.signals import REASONS
from emflow.engine.events import Failed, Started, Stopping
from emflow.engine.resource import Action
from emflow.problems import Problem


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


def test_why_a_rollout_failed_is_left_to_the_message_that_ends_the_run() -> None:
    shown = io.StringIO()
    progress = Progress(Console(file=shown, width=200))
    with progress:
        progress.show(Started("deployment/rollout", None))
        progress.show(Failed("deployment/rollout", Problem("core-1: the deployment FAILED\n    no such file")))
        progress.show(Failed("bucket/models", Problem("the bucket exists")))
    assert "✗ deployment/rollout  failed\n" in shown.getvalue()
    assert "no such file" not in shown.getvalue()
    assert "✗ bucket/models  the bucket exists" in shown.getvalue()
