"""A process that is started with a broken configuration: it goes on with the last one that worked, and says so."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge.greengrass_core import Core, publishing
from emflow_edge.settings.last_working import LastWorking, WorkingConfiguration
from support import Process, until

if TYPE_CHECKING:
    from edge.conftest import Edge


def test_a_configuration_is_kept_for_its_owner_only_and_read_again(tmp_path: Path) -> None:
    working = WorkingConfiguration({"streams": [{"url": "rtsp://u:secret@camera/1"}]}, ("cat", "dog"), "a b", "c")
    LastWorking(tmp_path).save(working)
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert LastWorking(tmp_path).read() == working


def test_a_new_process_removes_what_was_not_written_to_its_end(tmp_path: Path) -> None:
    writes_and_is_killed = (
        "import os, sys; from pathlib import Path; from emflow_edge.settings import last_working as l;"
        "l.os.fsync = lambda _: os._exit(9);"
        "l.LastWorking(Path(sys.argv[1])).save(l.WorkingConfiguration({'url': 'rtsp://u:secret@camera/1'}))"
    )
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", writes_and_is_killed, str(tmp_path)], check=False).returncode == 9
    assert "secret" in "".join(path.read_text() for path in tmp_path.iterdir())
    (tmp_path / "of-another-program.json").write_text("{}")
    assert LastWorking(tmp_path).read() is None
    assert [path.name for path in tmp_path.iterdir()] == ["of-another-program.json"]


def test_the_same_configuration_is_not_written_again(tmp_path: Path) -> None:
    kept = LastWorking(tmp_path)
    kept.save(WorkingConfiguration({"version": "1"}))
    (file,) = tmp_path.iterdir()
    file.unlink()
    kept.save(WorkingConfiguration({"version": "1"}))
    assert not list(tmp_path.iterdir())
    kept.save(WorkingConfiguration({"version": "2"}))
    assert LastWorking(tmp_path).read() == WorkingConfiguration({"version": "2"})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b"{}",
        b"\xff",
        b'{"configuration": {}}',
        b'{"configuration": 1, "labels": null, "model": "", "arrived": ""}',
        b'{"configuration": {}, "labels": [1], "model": "", "arrived": ""}',
        b'{"configuration": {}, "labels": 0, "model": "", "arrived": ""}',
        b'{"configuration": {}, "labels": null, "model": 1, "arrived": ""}',
        b'{"configuration": {}, "labels": null, "model": "", "arrived": null}',
    ],
)
def test_a_file_that_is_damaged_counts_as_none(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    kept = LastWorking(tmp_path)
    kept.save(WorkingConfiguration({"version": "secret"}))
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert LastWorking(tmp_path).read() is None
    assert f"cannot be read from {file}" in caplog.text


def test_a_folder_that_is_not_there_is_logged_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = LastWorking(tmp_path / "nothing")
    assert kept.read() is None
    kept.save(WorkingConfiguration({"version": "1"}))
    assert "cannot be kept in" in caplog.text
    LastWorking(None).save(WorkingConfiguration({"version": "1"}))
    assert LastWorking(None).read() is None


@pytest.fixture
def core(tmp_path: Path, python: Callable[..., Process]) -> Iterator[Core]:
    core = Core(tmp_path, python)
    yield core
    core.close()


@pytest.fixture
def config(edge: Edge, scenes_model: Path) -> dict[str, Any]:
    edge.agent()
    (edge.folder / "labels.txt").write_bytes(scenes_model.with_name("scenes_labels.txt").read_bytes())
    (edge.folder / "large").mkdir()
    with (edge.folder / "large" / "model.tflite").open("wb") as file:
        file.truncate(1 << 42)
    return {
        **publishing("em/inference", "em/status"),
        "modelName": "scenes",
        "modelComponentName": f"{edge.model}/",
        "agentSocket": str(edge.socket),
        "streams": [{"name": "front", "url": edge.camera()[1], "every": "100ms"}],
        "modelIO": {"labels": "labels.txt"},
        "publish": {"topic": "em/inference", "statusTopic": "em/status"},
        "version": "1.0.0",
    }


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"publish": {"topic": "em/#"}}, "publish.topic: 'em/#'"),
        ({"streams": []}, "streams: there is none"),
        ({"modelComponentName": "{folder}/nothing/"}, "model scenes: the agent finds no model at"),
        ({"modelComponentName": "{folder}/large/"}, "has no memory for model scenes"),
        ({"modelIO": {"task": "detection"}}, "model scenes: "),
        ({}, "modelIO.labels: "),
    ],
)
def test_a_process_goes_on_with_the_last_configuration_that_worked(
    core: Core, config: dict[str, Any], edge: Edge, broken: dict[str, Any], reason: str
) -> None:
    arguments = ("--assets", str(edge.folder), "--work", str(edge.folder))
    labels = (edge.folder / "labels.txt").read_text().splitlines()
    core.deploy(config)
    process = core.run(*arguments)
    core.results(1)
    until(lambda: list(edge.folder.glob("last-working-*")), what="the configuration to be kept")
    assert process.end() == 0
    if not broken:
        # The file of the labels is another one, with too few of them.
        (edge.folder / "labels.txt").write_text("one\n")
    broken = json.loads(json.dumps(broken).replace("{folder}", str(edge.folder)))
    core.deploy({**config, **broken, "version": "2.0.0"})
    for _ in range(2):
        process = core.run(*arguments)
        results = core.results(2, version="1.0.0", model_name="scenes")
        assert {one["label"] for one in results} <= {*labels}
        until(lambda: core.published("em/status")[-1].get("configuration_refused", "").find(reason) >= 0, 30, reason)
        assert core.published("em/status")[-1]["version"] == "1.0.0"
        said = process.text()
        assert "(version 1.0.0)" in said
        assert reason in said
        assert process.end() == 0
    # A good one is taken again.
    process = core.run(*arguments)
    core.deploy({**config, "modelIO": {}, "version": "3.0.0"})
    core.results(2, version="3.0.0")
    until(lambda: "configuration_refused" not in core.published("em/status")[-1])
    assert process.end() == 0
    assert "Traceback" not in process.text()


@pytest.mark.e2e
def test_under_the_classic_nucleus_a_broken_configuration_fails_the_deployment(
    core: Core, config: dict[str, Any], edge: Edge
) -> None:
    classic = {"AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH": "/set/by/the/classic/nucleus"}
    core.deploy(config)
    process = core.run("--assets", str(edge.folder), "--work", str(edge.folder), **classic)
    core.results(2)
    assert process.end() == 0
    core.deploy({**config, "streams": []})
    process = core.run("--assets", str(edge.folder), "--work", str(edge.folder), **classic)
    assert process.popen.wait(60) == 2
    assert core.states[-1] == "ERRORED"


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"modelComponentName": "{folder}/nothing/"}, "going back to the previous one (version 1.0.0)"),
        ({"streams": []}, "the previous one stays in use"),
    ],
    ids=["refused by the agent", "refused at once"],
)
def test_classic_a_live_change_that_was_given_up_is_given_up_at_the_next_start_too(
    core: Core, config: dict[str, Any], edge: Edge, broken: dict[str, Any], words: str
) -> None:
    classic = {"AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH": "/set/by/the/classic/nucleus"}
    arguments = ("--assets", str(edge.folder), "--work", str(edge.folder))
    given_up = {**config, **json.loads(json.dumps(broken).replace("{folder}", str(edge.folder))), "version": "2.0.0"}
    core.deploy(config)
    process = core.run(*arguments, **classic)
    core.results(1)
    # The deployment has succeeded when this is found out.
    core.deploy(given_up)
    process.says(words, 60)
    core.results(2, version="1.0.0")
    (kept,) = edge.folder.glob("last-working-*")
    until(lambda: json.loads(kept.read_text())["arrived"])
    process.end(signal.SIGKILL)
    for _ in range(2):
        process = core.run(*arguments, **classic)
        core.results(2, version="1.0.0")
        until(lambda: core.published("em/status")[-1].get("configuration_refused"))
        assert process.end() == 0
        assert "Traceback" not in process.text()
    # Another one starts the process, and has to fail.
    core.deploy({**config, "streams": [], "version": "3.0.0"})
    process = core.run(*arguments, **classic)
    assert process.popen.wait(120) == 2
    assert core.states[-1] == "ERRORED"


@pytest.mark.e2e
def test_without_one_that_worked_a_broken_configuration_ends_it(core: Core, config: dict[str, Any], edge: Edge) -> None:
    core.deploy({**config, "streams": []})
    process = core.run("--assets", str(edge.folder), "--work", str(edge.folder))
    assert process.popen.wait(20) == 2
    assert core.states == ["ERRORED"]
