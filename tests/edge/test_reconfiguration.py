"""A configuration that replaces another: what of the old one has to go, what has to stay, and what comes back."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from edge.recording_component import RecordingComponent
from edge.results.one_client_broker import OneClientBroker
from edge.scripted_agent import NUMBERS, ManualFrameSource, ScriptedAgent, served
from emflow_edge.settings.config import Settings
from emflow_edge.settings.config import settings as read
from emflow_schema.edge_config import Stream
from emflow_schema.errors import ConfigProblem, EdgeProblem
from support import until


class Running:
    """A component whose frames the test puts, on an agent and a broker that do what the test says."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.broker = folder, OneClientBroker()
        self.sources: dict[str, ManualFrameSource] = {}
        self.ended: list[EdgeProblem | None] = []
        self.applied: list[Settings] = []
        self.component = RecordingComponent(
            "thing", lambda _: self.broker.sink(), lambda _: ("", ""), self.ended.append, applied=self.applied.append
        )
        monkeypatch.setattr("emflow_edge.component.CameraReader", self._source)
        (folder / "model").mkdir()
        self.config: dict[str, Any] = {
            "modelName": "net",
            "modelComponentName": f"{folder}/model",
            "agentSocket": str(folder / "a.sock"),
            "streams": [{"name": "front", "url": "rtsp://camera/1", "every": "0s"}],
            "publish": {"topic": "em/one", "statusTopic": "em/status"},
            "metrics": {"every": "1h"},
            "version": "1.0.0",
        }
        self.component.start(self.settings())

    def _source(self, stream: Stream, counters: Any, *_: Any) -> ManualFrameSource:
        self.sources[stream.name] = ManualFrameSource(counters)
        return self.sources[stream.name]

    def settings(self, **changes: Any) -> Settings:
        return read({**self.config, **changes}, self.folder, "thing")

    def change(self, **changes: Any) -> Settings:
        """Keep these changes, and apply them."""
        self.config.update(changes)
        new = self.settings()
        self.component.change(new)
        return new

    def see(self, stream: str = "front") -> None:
        """Put frames until one gives a result under the settings that are in use."""
        before = len(self.component.accepted)

        def seen() -> bool:
            self.sources[stream].put()
            return any(one.settings is self.component.settings for one in self.component.accepted[before:])

        until(seen, what="a result under the settings that are in use")

    def quiet(self) -> None:
        """Wait until each frame has been handled, and each result published."""

        def all_handled() -> bool:
            now = self.component.counters.snapshot()
            handled = now["skipped"] + now["inferred"] + now["failed"]
            return (handled, now["published"] + now["dropped"]) == (now["captured"], now["inferred"])

        until(all_handled, what="all frames and results")

    def published(self, number: int) -> list[tuple[str, dict[str, Any]]]:
        until(lambda: len(self.broker.results()) >= number, what=f"{number} results")
        return self.broker.results()

    @property
    def status(self) -> dict[str, Any]:
        return self.component.status.snapshot()

    def retained(self) -> dict[str, Any]:
        with self.broker.lock:
            return {topic: json.loads(message.payload) for topic, message in self.broker.retained.items()}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[ScriptedAgent]:
    agent = ScriptedAgent()
    with served(agent, tmp_path / "a.sock"):
        yield agent


@pytest.fixture
def running(tmp_path: Path, agent: ScriptedAgent, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr("emflow_edge.component._MEMORY_SECONDS", 0.1)
    monkeypatch.setattr("emflow_edge.component._AGENT_SECONDS", 0.2)
    running = Running(tmp_path, monkeypatch)
    running.see()
    yield running
    running.component.close()


def other_camera(number: int = 2) -> list[dict[str, str]]:
    return [{"name": "front", "url": f"rtsp://camera/{number}", "every": "0s"}]


# Either the new one runs whole, or the old one.


def test_a_model_that_does_not_fit_into_memory_brings_the_old_one_back(
    running: Running, agent: ScriptedAgent, caplog: pytest.LogCaptureFixture
) -> None:
    agent.refuses["large"] = grpc.StatusCode.RESOURCE_EXHAUSTED
    running.component.change(running.settings(modelName="large", version="2.0.0", streams=other_camera()))
    until(lambda: "has no memory for model large" in running.status.get("configuration_refused", ""))
    running.see()
    until(lambda: running.retained().get("em/status", {}).get("version") == "1.0.0")
    assert agent.loaded == {"net"}
    assert running.component.settings == running.settings()
    assert "going back to the previous one (version 1.0.0)" in caplog.text
    assert not running.ended


def test_a_model_that_fits_once_the_old_one_is_gone_is_waited_for(running: Running, agent: ScriptedAgent) -> None:
    agent.refuses["large"] = grpc.StatusCode.RESOURCE_EXHAUSTED
    running.change(modelName="large", version="2.0.0")
    until(lambda: "load large" in agent.calls)
    agent.refuses.clear()
    running.see()
    assert (agent.calls.count("load large"), agent.loaded) == (2, {"large"})
    assert "configuration_refused" not in running.status


def test_an_agent_that_nobody_is_brings_the_old_one_back(running: Running, agent: ScriptedAgent) -> None:
    running.component.change(running.settings(agentSocket=str(running.folder / "nobody.sock"), version="2.0.0"))
    until(lambda: "nobody.sock cannot be reached" in running.status.get("configuration_refused", ""))
    running.see()
    assert running.component.settings == running.settings()


def test_an_agent_that_moves_is_followed_though_it_is_late(
    running: Running, agent: ScriptedAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.change(agentSocket=str(tmp_path / "b.sock"), version="2.0.0")
    until(lambda: "b.sock cannot be reached" in running.status.get("configuration_refused", ""))
    running.see()
    # The old agent ends, and the new one comes.
    (tmp_path / "a.sock").unlink()
    agent.loaded.clear()
    with served(ScriptedAgent(), tmp_path / "b.sock"):
        running.sources["front"].put()
        until(lambda: running.component.settings == running.settings(), what="the new settings")
        running.see()
        until(lambda: "configuration_refused" not in running.status)
        assert running.component.close()


def test_a_port_that_is_taken_refuses_the_configuration_and_the_old_page_stays(running: Running) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    running.change(metrics={"every": "1h", "port": str(port)})
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(ConfigProblem, match=rf"metrics\.port: 127\.0\.0\.1:{taken} cannot be listened on"):
            running.component.change(running.settings(metrics={"port": str(taken)}, version="2.0.0"))
    socket.create_connection(("127.0.0.1", port)).close()
    running.see()
    assert running.component.settings == running.settings()


@pytest.mark.parametrize("name", ["infer-front-1", "infer-side-0", "loading"])
def test_a_thread_that_cannot_be_started_brings_the_old_one_back(
    running: Running, agent: ScriptedAgent, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    start, failed = threading.Thread.start, list[str]()

    def fails_once(thread: threading.Thread) -> None:
        if thread.name == name and not failed:
            failed.append(name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fails_once)
    streams = [*other_camera(), {"name": "side", "url": "rtsp://camera/3"}]
    with pytest.raises(RuntimeError):
        running.component.change(running.settings(streams=streams, modelName="other", publish={"topic": "em/two"}))
    assert failed
    running.see()
    assert running.component.settings == running.settings()
    assert (set(running.status["streams"]), agent.loaded) == ({"front"}, {"net"})
    assert running.retained().keys() == {"em/status"}
    assert not running.ended


def test_a_sink_that_cannot_be_made_leaves_everything_as_it_is(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Settings) -> Any:
        raise ImportError("no awscrt on this device")

    monkeypatch.setattr(running.component, "_make_sink", fails)
    with pytest.raises(ImportError):
        running.component.change(running.settings(publish={"topic": "em/x", "mqtt": "5"}, version="2.0.0"))
    running.see()
    assert running.component.settings == running.settings()
    assert running.retained()["em/status"]["version"] == "1.0.0"


def test_settings_of_the_log_come_back_too(running: Running, agent: ScriptedAgent) -> None:
    agent.refuses["bad"] = grpc.StatusCode.FAILED_PRECONDITION
    running.component.change(running.settings(modelName="bad", log={"format": "json", "level": "debug"}))
    until(lambda: "configuration_refused" in running.status)
    assert [one.log.format for one in running.applied] == ["text", "json", "text"]


# No number is used twice.


def test_a_stream_that_is_replaced_in_mid_frame_does_not_use_a_number_twice(
    running: Running, agent: ScriptedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emflow_edge.component._REPLACE_SECONDS", 0.05)
    inside, go_on = threading.Event(), threading.Event()

    def answer(brightness: int) -> tuple[float, ...]:
        if brightness == 9:
            inside.set()
            assert go_on.wait(30)
        return NUMBERS

    agent.answer = answer
    running.quiet()
    running.sources["front"].put(9)
    assert inside.wait(30)
    running.change(streams=other_camera(), version="2.0.0", publish={"topic": "em/two", "statusTopic": "em/status"})
    running.see()
    go_on.set()
    running.quiet()
    results = running.broker.results()
    numbers = [one["sequence"] for _, one in results]
    assert sorted(numbers) == list(range(len(numbers)))
    # The late one goes where results of its configuration go.
    assert {(topic, one["version"]) for topic, one in results} == {("em/one", "1.0.0"), ("em/two", "2.0.0")}


def test_a_stream_that_comes_back_goes_on_counting_and_names_the_same_run(running: Running) -> None:
    running.change(streams=[{"name": "side", "url": "rtsp://camera/2", "every": "0s"}])
    running.see("side")
    running.change(streams=other_camera(1))
    running.see()
    results = [one for _, one in running.published(3)]
    front = [one["sequence"] for one in results if one["stream"] == "front"]
    assert front == list(range(len(front)))
    assert next(one["sequence"] for one in results if one["stream"] == "side") == 0
    assert len({one["run"] for one in results}) == 1


# What was accepted is not lost.


def test_what_waits_for_the_broker_is_sent_over_another_connection_to_its_own_topic(running: Running) -> None:
    running.published(1)
    running.broker.go_away()
    before = running.component.counters.snapshot()["inferred"]
    while running.component.counters.snapshot()["inferred"] < before + 5:
        running.sources["front"].put()
    running.change(publish={"topic": "em/two", "statusTopic": "em/other", "qos": "0"}, version="2.0.0")
    running.see()
    running.broker.come_back()
    until(
        lambda: running.component.counters.snapshot()["published"] == running.component.counters.snapshot()["inferred"]
    )
    results = running.broker.results()
    assert sorted(one["sequence"] for _, one in results) == list(range(len(results)))
    assert {(topic, one["version"]) for topic, one in results} == {("em/one", "1.0.0"), ("em/two", "2.0.0")}
    assert running.component.counters.snapshot()["dropped"] == 0
    assert {message.qos for message in running.broker.taken if message.topic == "em/one"} == {1}


# The last will, the farewell and what is retained are those of what runs.


def test_the_will_and_the_farewell_have_the_version_that_runs(running: Running) -> None:
    running.change(version="2.0.0")
    running.see()
    until(lambda: running.broker.will is not None and '"2.0.0"' in running.broker.will.payload, what="another will")
    assert running.component.close()
    assert (running.retained()["em/status"]["status"], running.retained()["em/status"]["version"]) == (
        "offline",
        "2.0.0",
    )
    assert not [one for one in running.broker.taken if '"offline"' in one.payload and '"1.0.0"' in one.payload]


@pytest.mark.parametrize("later", ["em/later", None])
def test_a_status_is_removed_from_a_topic_that_is_used_no_more(running: Running, later: str | None) -> None:
    until(lambda: running.retained().keys() == {"em/status"})
    running.broker.go_away()
    running.change(publish={"topic": "em/one", "statusTopic": later} if later else {"topic": "em/one"})
    running.see()
    running.broker.come_back()
    until(lambda: running.retained().keys() == ({later} if later else set()), what="nothing on the old topic")
    assert running.component.close()
    assert running.retained().keys() == ({later} if later else set())


def test_what_the_old_topic_rejected_is_no_reason_any_more(running: Running) -> None:
    running.component.status.set_camera("front", "present")
    running.broker.rejects.add("em/one")
    running.see()
    until(lambda: running.status["streams"]["front"]["status"] == "unpublished")
    running.change(publish={"topic": "em/two", "statusTopic": "em/status"})
    until(lambda: running.status["streams"]["front"]["status"] == "running")


# Content decides, not a path.


def test_new_labels_under_the_same_path_are_used_and_old_ones_come_back(running: Running, agent: ScriptedAgent) -> None:
    labels = running.folder / "labels.txt"
    labels.write_text("cat\ndog\nowl\n")
    running.change(modelIO={"labels": "labels.txt"})
    running.see()
    labels.write_text("Katze\nHund\nEule\n")
    running.change()
    running.see()
    until(lambda: running.broker.results()[-1][1]["label"] == "Hund")
    # Labels that do not fit, with a model that fails only later: the ones before are not in the file any more.
    labels.write_text("one\n")
    agent.refuses["bad"] = grpc.StatusCode.FAILED_PRECONDITION
    running.component.change(running.settings(modelName="bad"))
    until(lambda: "configuration_refused" in running.status)
    running.see()
    count = len(running.broker.results())
    running.sources["front"].put()
    until(lambda: len(running.broker.results()) > count)
    assert running.broker.results()[-1][1]["label"] == "Hund"


def test_new_certificates_under_the_same_path_open_the_camera_again(running: Running) -> None:
    ca = running.folder / "ca.pem"
    ca.write_text("one")
    running.change(streams=[{"name": "front", "url": "https://camera/1", "ca": str(ca)}])
    first = running.sources["front"]
    running.change()
    assert running.sources["front"] is first
    ca.write_text("two")
    running.change()
    assert running.sources["front"] is not first


def test_another_model_under_the_same_path_is_loaded(running: Running, agent: ScriptedAgent) -> None:
    model = running.folder / "model" / "model.tflite"
    model.write_bytes(b"one")
    running.change()
    running.see()
    before = len(agent.calls)
    running.change()
    assert len(agent.calls) == before
    model.write_bytes(b"two")
    running.change()
    running.see()
    # The answer to the first is that a model of this name is there.
    assert agent.calls[before:] == ["load net", "unload net", "load net"]


def test_settings_do_not_run_with_a_model_that_came_into_the_folder_later(
    running: Running, agent: ScriptedAgent
) -> None:
    model = running.folder / "model" / "model.tflite"
    model.write_bytes(b"one")
    running.change(version="2.0.0")
    running.see()
    running.quiet()
    before = len(running.component.accepted)
    model.write_bytes(b"two")
    agent.loaded.clear()

    def ended() -> bool:
        running.sources["front"].put()
        return bool(running.ended)

    until(ended)
    assert "has another one now than version 2.0.0 ran with" in str(running.ended[0])
    assert not running.component.accepted[before:]


def test_other_files_of_the_connection_open_another(running: Running) -> None:
    certificate = running.folder / "cert.pem"
    for content, made in (("one", 1), ("one", 0), ("two", 1)):
        certificate.write_text(content)
        before = running.broker.made
        running.component.change(read(running.config, running.folder, "thing", [certificate]))
        assert running.broker.made == before + made


# What else of the old configuration has to go.


def test_of_another_camera_nothing_is_known_yet(running: Running) -> None:
    running.component.status.set_camera("front", "frozen", "the picture does not change")
    running.change(streams=other_camera())
    assert running.status["streams"]["front"]["status"] == "starting"


def test_a_topic_that_is_new_gets_the_state_at_once_though_nothing_changes(running: Running) -> None:
    running.change(publish={"topic": "em/two", "statusTopic": "em/status", "onChange": "true"})
    running.see()
    running.change(publish={"topic": "em/three", "statusTopic": "em/status", "onChange": "true"})
    running.see()
    until(lambda: "em/three" in {topic for topic, _ in running.broker.results()})
    assert len([topic for topic, _ in running.broker.results() if topic == "em/two"]) == 1


def test_what_was_learned_with_other_roles_of_the_outputs_is_forgotten(running: Running) -> None:
    loader = running.component._model_loader
    assert loader
    loader._learned.pixels = True
    running.change(modelIO={"topK": "1"})
    running.see()
    assert loader._learned.pixels
    running.change(modelIO={"topK": "1", "color": "bgr"})
    running.see()
    assert not loader._learned.pixels


def test_a_model_that_fails_is_reported_though_the_one_before_failed_too(
    running: Running, agent: ScriptedAgent, caplog: pytest.LogCaptureFixture
) -> None:
    agent.answer = lambda _: (float("nan"),) * 3

    def failures() -> int:
        running.sources["front"].put()
        return caplog.text.count("Predict failed")

    until(lambda: failures() == 1)
    running.change(modelName="other")
    until(lambda: failures() == 2)
    assert caplog.text.count("Predict failed") == 2
