"""Logs in the nucleus's format, which people tail and the project's own highlights read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from emflow_emulator.core.logs import Log, line
from emflow_emulator.highlights import highlight

WHEN = datetime(2021, 7, 13, 19, 43, 13, 511999, UTC)
NAME = "aws.greengrass.SageMakerEdgeManager"


def test_a_line_is_as_the_nucleus_writes_it() -> None:
    context = {
        "scriptName": f"services.{NAME}.lifecycle.run.script",
        "serviceName": NAME,
        "currentState": "RUNNING",
    }
    text = "stdout. Server listening on unix:///tmp/sagemaker_edge_agent_example.sock"

    assert line(WHEN, "INFO", "Copier", NAME, text, context) == (
        "2021-07-13T19:43:13.511Z [INFO] (Copier) aws.greengrass.SageMakerEdgeManager: stdout. "
        "Server listening on unix:///tmp/sagemaker_edge_agent_example.sock. "
        "{scriptName=services.aws.greengrass.SageMakerEdgeManager.lifecycle.run.script, "
        "serviceName=aws.greengrass.SageMakerEdgeManager, currentState=RUNNING}"
    )


def test_highlights_read_it() -> None:
    found = highlight(NAME, line(WHEN, "INFO", "Copier", NAME, "stdout. Model:x loaded!", {"serviceName": NAME}))

    assert found is not None
    assert found.text.startswith("Model:x loaded!")


def test_a_script_of_several_lines_is_one_line() -> None:
    assert "\n" not in line(WHEN, "INFO", "t", "n", "shell-runner-start", {"command": "a\nb"})


def test_a_log_begins_anew_when_it_is_large(tmp_path: Path, monkeypatch: object) -> None:
    from emflow_emulator.core import logs

    monkeypatch.setattr(logs, "_LARGEST", 100)  # type: ignore[attr-defined]
    log = Log(tmp_path / "a.log")
    for number in range(3):
        log.write("INFO", "t", "n", f"{number} " + "x" * 100)

    assert (tmp_path / "a.log").read_text().count("\n") == 1
    assert "1 x" in (tmp_path / "a.old").read_text()


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    Log(tmp_path / "not there" / "a.log").write("INFO", "t", "n", "text")
