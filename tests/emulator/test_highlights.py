"""Of a core's logs, a person sees what tells how far it has come."""

from __future__ import annotations

from pathlib import Path

import pytest

from emflow_emulator.highlights import Follower, Highlight, highlight
from support import until

AGENT = "aws.greengrass.SageMakerEdgeManager"
TAIL = f"{{scriptName=services.{AGENT}.lifecycle.run.script, serviceName={AGENT}, currentState=RUNNING}}"


def core_line(text: str, level: str = "INFO") -> str:
    return f"2026-01-02T03:04:05.678Z [{level}] (Copier) {AGENT}: stdout. {text}. {TAIL}"


@pytest.mark.parametrize(
    ("line", "level", "text"),
    [
        (
            core_line("[2026-01-02T03:04:05.1Z][I] Server listening on unix:///tmp/a.sock"),
            "I",
            "Server listening on unix:///tmp/a.sock",
        ),
        (core_line("Model:scenes loaded!"), "I", "Model:scenes loaded!"),
        (core_line("2026-01-02 03:04:05,678 [WARNING] disk nearly full"), "W", "disk nearly full"),
        (core_line("it broke", "ERROR"), "E", "it broke"),
    ],
)
def test_telling_lines_come_without_times_and_trimmings(line: str, level: str, text: str) -> None:
    assert highlight(AGENT, line) == Highlight(AGENT, level, text)


def test_routine_is_left_out() -> None:
    assert highlight("greengrass", core_line("fss-status-update-published. Status update published to FSS")) is None


def test_a_line_that_is_still_being_written_waits_for_its_end(tmp_path: Path) -> None:
    log = tmp_path / f"{AGENT}.log"
    shown: list[str] = []
    with Follower(tmp_path, lambda line: shown.append(line.text), period=0.01):
        log.write_text(core_line("Model:a loaded!") + "\n" + core_line("Model:b loaded!")[:80])
        until(lambda: shown, what="the first line")
        with log.open("a") as more:
            more.write(core_line("Model:b loaded!")[80:] + "\n")
        until(lambda: len(shown) == 2, what="the second line")
    assert shown == ["Model:a loaded!", "Model:b loaded!"]
