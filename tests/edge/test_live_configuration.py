"""A configuration that changes while the component runs: over Greengrass IPC, and in a file."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge.greengrass_core import Core, publishing
from support import Process, until

if TYPE_CHECKING:
    from edge.conftest import Edge

pytestmark = pytest.mark.e2e


@pytest.fixture
def core(tmp_path: Path, python: Callable[..., Process]) -> Iterator[Core]:
    core = Core(tmp_path, python)
    yield core
    core.close()


@pytest.fixture
def config(edge: "Edge") -> dict[str, Any]:
    """Two streams of one camera, ten results a second each."""
    edge.agent()
    _, url = edge.camera()
    return {
        **publishing("em/inference", "em/other"),
        "modelName": "scenes",
        "modelComponentName": f"{edge.model}/",
        "agentSocket": str(edge.socket),
        "streams": [{"name": name, "url": url, "every": "100ms"} for name in ("front", "back")],
        "publish": {"topic": "em/inference", "qos": "1"},
        "version": "1.0.0",
    }


def gapless(messages: list[dict[str, Any]], stream: str) -> bool:
    numbers = [message["sequence"] for message in messages if message["stream"] == stream]
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def ends_cleanly(process: Process) -> None:
    assert process.end() == 0
    assert "Traceback" not in process.text()


def test_a_stream_that_ends_and_one_that_begins_leave_the_other_as_it_is(core: Core, config: dict[str, Any]) -> None:
    core.deploy(config)
    process = core.run()
    core.results(2, stream="front")
    core.results(2, stream="back")
    front, back = config["streams"]
    core.deploy({**config, "streams": [front, {**back, "name": "side"}]})
    core.results(3, stream="side")
    before = len(core.published())
    core.results(3, stream="front")
    assert not [one for one in core.published()[before:] if one["stream"] == "back"]
    assert gapless(core.published(), "front")
    text = process.says("configuration changed; 1 of 2 streams kept running")
    # The camera of the stream that stayed was opened once.
    assert text.count("camera front") == text.count("camera side") == 1
    ends_cleanly(process)


def test_what_was_refused_is_not_tried_again_when_the_nucleus_comes_back(core: Core, config: dict[str, Any]) -> None:
    core.deploy(config)
    process = core.run()
    core.results(1)
    core.deploy({**config, "streams": []})
    process.says("the new configuration is refused: streams: ")
    core.stop()
    process.says("lost the connection to the Greengrass nucleus")
    core.start()
    process.says("reconnected to the Greengrass nucleus")
    # For longer than it takes to hear of a configuration.
    core.results(40)
    assert process.text().count("is refused") == 1
    core.deploy({**config, "version": "2.0.0"})
    core.results(1, version="2.0.0")
    ends_cleanly(process)


def test_what_was_given_up_for_want_of_an_agent_is_tried_when_it_comes_again(
    core: Core, config: dict[str, Any], edge: "Edge"
) -> None:
    core.deploy(config)
    process = core.run()
    core.results(1)
    core.deploy({**config, "agentSocket": str(edge.folder / "b.sock"), "version": "2.0.0"})
    text = process.says("going back to the previous one (version 1.0.0)", 60)
    assert "cannot be reached; when that is mended, deploy the configuration again, or restart this component" in text
    core.results(1, version="1.0.0")
    edge.agent("--socket", str(edge.folder / "b.sock"))
    core.stop()
    process.says("lost the connection to the Greengrass nucleus")
    core.start()
    core.results(1, version="2.0.0")
    ends_cleanly(process)


def test_a_rate_changes_without_the_camera_being_opened_again(core: Core, config: dict[str, Any]) -> None:
    slow = {**config, "streams": [{**config["streams"][0], "every": "1h"}]}
    core.deploy(slow)
    process = core.run()
    core.results(1)
    core.deploy({**slow, "streams": [{**slow["streams"][0], "every": "50ms"}]})
    core.results(5)
    assert process.text().count("camera front") == 1
    assert [one["sequence"] for one in core.published()] == list(range(len(core.published())))
    ends_cleanly(process)


def test_labels_and_topic_change_while_it_runs(
    core: Core, config: dict[str, Any], edge: "Edge", scenes_model: Path
) -> None:
    core.deploy(config)
    process = core.run("--assets", str(edge.folder))
    core.results(2, label=None)
    (edge.folder / "labels.txt").write_bytes(scenes_model.with_name("scenes_labels.txt").read_bytes())
    changed = {**config, "modelIO": {"labels": "labels.txt", "topK": "1"}, "publish": {"topic": "em/other"}}
    core.deploy({**changed, "version": "1.0.1"})
    until(lambda: [one for one in core.published("em/other") if one["label"]], what="labelled results on em/other")
    last = core.published("em/other")[-1]
    assert (last["version"], len(last["top"])) == ("1.0.1", 1)
    for stream in ("front", "back"):
        assert gapless(core.published() + core.published("em/other"), stream)
    ends_cleanly(process)


def test_a_url_that_changes_gives_results_of_the_other_camera(core: Core, config: dict[str, Any], edge: "Edge") -> None:
    core.deploy(config)
    process = core.run()
    core.results(2, stream="back")
    _, other = edge.camera("--name", "other", "--size", "320x240")
    front, back = config["streams"]
    core.deploy({**config, "streams": [front, {**back, "url": other}]})
    process.says("320 x 240 pixels")
    core.results(3, stream="back")
    assert gapless(core.published(), "front")
    assert gapless(core.published(), "back")
    ends_cleanly(process)


def test_another_model_is_loaded_and_the_old_one_unloaded(core: Core, config: dict[str, Any]) -> None:
    core.deploy(config)
    process = core.run()
    core.results(2, model_name="scenes")
    core.deploy({**config, "modelName": "scenes-2"})
    core.results(3, model_name="scenes-2")
    text = process.text()
    assert text.index("model scenes unloaded") < text.index("model scenes-2 loaded")
    assert text.count("camera front") == 1
    ends_cleanly(process)


def test_a_model_that_the_agent_refuses_is_reported_and_the_old_one_comes_back(
    core: Core, config: dict[str, Any], edge: "Edge"
) -> None:
    core.deploy(config)
    process = core.run()
    core.results(2, model_name="scenes")
    core.deploy({**config, "modelName": "scenes-2", "modelComponentName": f"{edge.folder}/nothing/"})
    process.says("the new configuration does not work: model scenes-2: the agent finds no model at")
    core.results(3, model_name="scenes")
    ends_cleanly(process)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"streams": [{"name": "front", "url": "rtsp://u:secret@:99999/1"}]}, "streams[0].url: "),
        ({"publish": {"topic": "em/#"}}, "publish.topic: 'em/#'"),
        ({"modelIO": {"labels": "few.txt"}}, "modelIO.labels: "),
        ({"modelName": "no name"}, "modelName: 'no name'"),
    ],
)
def test_a_bad_configuration_is_rejected_with_the_reason_and_the_old_one_is_kept(
    core: Core, config: dict[str, Any], edge: "Edge", change: dict[str, Any], reason: str
) -> None:
    (edge.folder / "few.txt").write_text("one\n")
    core.deploy(config)
    process = core.run("--assets", str(edge.folder))
    core.results(2)
    verdict = core.judged({**config, **change})
    assert verdict.startswith(reason)
    assert "secret" not in verdict
    assert core.judged(config) == ""
    # A nucleus that does not ask first, or does not care.
    core.deploy({**config, **change})
    process.says(f"the new configuration is refused: {reason}")
    core.results(3)
    assert gapless(core.published(), "front")
    assert "secret" not in process.text()
    ends_cleanly(process)


def test_flags_win_over_a_configuration_that_changes_too(core: Core, config: dict[str, Any], edge: "Edge") -> None:
    _, url = edge.camera("--name", "flagged", "--size", "320x240")
    core.deploy(config)
    process = core.run("-s", url, "--every", "50ms", "--topic", "em/other")
    until(lambda: len(core.published("em/other")) > 2)
    core.deploy({**config, "version": "2.0.0", "publish": {"topic": "em/inference"}})
    until(lambda: [one for one in core.published("em/other") if one["version"] == "2.0.0"])
    assert core.published() == []
    assert {one["stream"] for one in core.published("em/other")} == {"camera"}
    assert process.text().count("320 x 240 pixels") == 1
    ends_cleanly(process)


def test_a_file_is_read_again_on_a_hangup_signal(
    config: dict[str, Any], edge: "Edge", python: Callable[..., Process]
) -> None:
    file = edge.folder / "config.json"
    file.write_text(json.dumps(config))
    process = python("emflow_edge", "--config", str(file))
    edge.results(process, 4)
    file.write_text(json.dumps({**config, "version": "1.0.1"}))
    process.popen.send_signal(signal.SIGHUP)
    until(lambda: edge.results(process, 1)[-1]["version"] == "1.0.1", what="the new version")
    file.write_text("{")
    process.popen.send_signal(signal.SIGHUP)
    process.says("the new configuration is refused: --config: ")
    edge.results(process, len(edge.results(process, 1)) + 3)
    ends_cleanly(process)
