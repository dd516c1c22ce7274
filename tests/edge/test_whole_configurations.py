"""Whatever configurations come, and whichever of them fail, one of them runs whole, and no result is lost or doubled.

Random changes of a real component with the real agent: valid ones, such that are refused at once, and such that fail
when parts of the one before have been taken down already; meanwhile the broker goes away and the agent loses models.
"""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from edge.http_camera import camera
from edge.recording_component import RecordingComponent
from edge.results.one_client_broker import OneClientBroker
from emflow_agent.calls.server import serving
from emflow_agent.calls.service import AgentService
from emflow_agent.models.store import ModelStore
from emflow_edge.settings.config import Settings
from emflow_edge.settings.config import settings as read
from emflow_schema.errors import EdgeProblem
from support import until

STEPS, EXAMPLES = 12, 4
NAMES = ["front", "back", "side"]
TOPICS = ["em/a", "em/{stream}/b", "em/{model}"]
STATUS_TOPICS = ["em/status", "em/state/{thing}", ""]
# More bytes than any memory; the file has no blocks on the disk.
TOO_LARGE = 1 << 42


class World:
    """Two agents, two models that work and three that do not, a camera, and a broker."""

    def __init__(self, model: Path, stack: ExitStack) -> None:
        # Short: a Unix socket's path holds about a hundred characters.
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="t-")))
        self.stores = {name: ModelStore(threads=1) for name in ("a.sock", "b.sock")}
        for name, store in self.stores.items():
            service = AgentService(store)
            stack.enter_context(serving(service, self.folder / name, clean_stale_socket=False, grace=5.0))
        for name in ("one", "two", "corrupt", "large", "empty"):
            (self.folder / name).mkdir()
        for name in ("one", "two"):
            shutil.copy(model, self.folder / name / "model.tflite")
        (self.folder / "corrupt" / "model.tflite").write_bytes(b"no model" * 100)
        with (self.folder / "large" / "model.tflite").open("wb") as file:
            file.truncate(TOO_LARGE)
        (self.folder / "labels.txt").write_bytes(model.with_name("scenes_labels.txt").read_bytes())
        (self.folder / "few.txt").write_text("one\n")
        self.camera = stack.enter_context(camera("viewer", "secret")).url.replace("//", "//viewer:secret@")
        self.taken_port = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        self.broker = OneClientBroker()


class Changes(RuleBasedStateMachine):
    """`good`: the configuration that has to run."""

    model: Path

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.world = World(self.model, self.stack)
        self.applied: list[Settings] = []
        self.worked: list[Settings] = []
        self.ended: list[EdgeProblem | None] = []
        self.versions: dict[str, dict[str, Any]] = {}
        self.expected: set[str] = set()
        self.outage = 0
        self.component = RecordingComponent(
            "thing",
            lambda _: self.world.broker.sink(),
            lambda _: ("", ""),
            self.ended.append,
            applied=self.applied.append,
            worked=self.worked.append,
        )

    @initialize()
    def start(self) -> None:
        self.good = self.version(
            {
                "modelName": "net",
                "modelComponentName": f"{self.world.folder}/one",
                "agentSocket": str(self.world.folder / "a.sock"),
                "streams": [{"name": "front", "url": self.world.camera, "every": "500ms"}],
                "publish": {"topic": TOPICS[0], "statusTopic": STATUS_TOPICS[0]},
                "metrics": {"every": "1h"},
            }
        )
        self.component.start(self.read(self.good))
        self.runs_whole(0)

    def version(self, config: dict[str, Any]) -> dict[str, Any]:
        """The configuration with a version of its own."""
        version = f"1.0.{len(self.versions)}"
        self.versions[version] = {**config, "version": version}
        return self.versions[version]

    def read(self, config: dict[str, Any]) -> Settings:
        return read(config, self.world.folder, "thing")

    @rule(
        names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True),
        camera=st.sampled_from(["", "?other"]),
        every=st.sampled_from(["400ms", "500ms"]),
        publish=st.fixed_dictionaries(
            {
                "topic": st.sampled_from(TOPICS),
                "statusTopic": st.sampled_from(STATUS_TOPICS),
                # QoS 1 only: of one that nobody acknowledges it is not known whether the broker has gone because of it.
                "mqtt": st.sampled_from(["3.1.1", "5"]),
            }
        ),
        model=st.sampled_from(["one", "two"]),
        agent=st.sampled_from(["a.sock", "b.sock"]),
        labels=st.sampled_from(["", "labels.txt"]),
        parts=st.sets(st.sampled_from(["streams", "publish", "model", "agent", "labels"])),
    )
    def change(self, parts: set[str], **new: Any) -> None:
        config = dict(self.good)
        if "streams" in parts:
            url = self.world.camera + new["camera"]
            config["streams"] = [{"name": name, "url": url, "every": new["every"]} for name in new["names"]]
        if "publish" in parts:
            config["publish"] = {key: value for key, value in new["publish"].items() if value}
        if "model" in parts:
            config["modelComponentName"] = str(self.world.folder / new["model"])
        if "agent" in parts:
            config["agentSocket"] = str(self.world.folder / new["agent"])
        if "labels" in parts:
            config["modelIO"] = {"labels": new["labels"]} if new["labels"] else {}
        before, self.good = len(self.worked), self.version(config)
        self.component.change(self.read(self.good))
        self.runs_whole(before)
        assert "configuration_refused" not in self.component.status.snapshot()

    @rule(
        wrong=st.sampled_from(
            [
                {"modelIO": {"labels": "few.txt"}},
                {"modelIO": {"labels": "nothing.txt"}},
                {"modelIO": {"task": "detection"}},
                {"metrics": {"port": "taken"}},
            ]
        ),
        streams=st.booleans(),
    )
    def change_that_is_refused_at_once(self, wrong: dict[str, Any], streams: bool) -> None:
        if "metrics" in wrong:
            wrong = {"metrics": {"port": str(self.world.taken_port)}}
        config = self.version({**self.good, **wrong, **self.others(streams)})
        with pytest.raises(EdgeProblem):
            self.component.change(self.read(config))
        before = self.component.counters.snapshot()["inferred"]
        until(lambda: self.component.counters.snapshot()["inferred"] > before, what="a result")
        self.runs_whole(None)

    @rule(
        wrong=st.sampled_from(
            [
                {"modelComponentName": "large"},
                {"modelComponentName": "corrupt"},
                {"modelComponentName": "empty"},
                {"modelComponentName": "nowhere"},
                {"agentSocket": "nobody.sock"},
            ]
        ),
        streams=st.booleans(),
    )
    def change_that_fails_when_the_model_is_gone(self, wrong: dict[str, Any], streams: bool) -> None:
        wrong = {key: str(self.world.folder / value) for key, value in wrong.items()}
        config = self.version({**self.good, **wrong, **self.others(streams)})
        before = len(self.worked)
        self.component.change(self.read(config))
        until(lambda: "configuration_refused" in self.component.status.snapshot(), 60, "the refusal")
        self.runs_whole(before)
        assert "configuration_refused" in self.component.status.snapshot()

    def others(self, streams: bool) -> dict[str, Any]:
        """Other parts, that are replaced before the wrong one fails."""
        if not streams:
            return {}
        url = f"{self.world.camera}?third"
        publish = {"topic": "em/other", "statusTopic": "em/other/status"}
        return {"streams": [{"name": name, "url": url, "every": "400ms"} for name in NAMES[1:]], "publish": publish}

    @precondition(lambda self: self.world.broker.up)
    @rule()
    def the_broker_goes_away(self) -> None:
        self.outage = 0
        self.world.broker.go_away()

    @precondition(lambda self: not self.world.broker.up)
    @rule()
    def the_broker_comes_back(self) -> None:
        self.world.broker.come_back()
        self.runs_whole(None)

    @rule()
    def the_agent_loses_the_model(self) -> None:
        store = self.store()
        before = self.component.counters.snapshot()["inferred"]
        store.unload(self.good["modelName"])
        until(lambda: self.component.counters.snapshot()["inferred"] > before + 1, what="results with the model again")
        self.runs_whole(None)

    def store(self) -> ModelStore:
        return self.world.stores[Path(self.good["agentSocket"]).name]

    def runs_whole(self, worked_before: int | None) -> None:
        """The good configuration runs, with all of its parts, and no other."""
        version, component, broker = self.good["version"], self.component, self.world.broker
        if worked_before is not None:
            until(
                lambda: [one.version for one in self.worked[worked_before:]][-1:] == [version], 60, "its first result"
            )
        assert not self.ended
        assert component.settings == self.read(self.good)
        assert self.applied[-1].version == version
        names = {stream["name"] for stream in self.good["streams"]}
        until(lambda: set(self.threads("camera-")) == names, 60, f"the cameras of {names} and no others")
        assert set(component.status.snapshot()["streams"]) == names
        until(lambda: [model.url for model in self.store().all()] == [self.good["modelComponentName"]])
        assert sum(len(store.all()) for store in self.world.stores.values()) == 1
        if not broker.up:
            self.outage += 1
            if self.outage < 3:
                return
            broker.come_back()
        topic = (self.good["publish"].get("statusTopic") or "").replace("{thing}", "thing")
        until(lambda: set(broker.retained) == ({topic} if topic else set()), 60, f"a status on {topic!r} and no other")
        if topic:
            until(lambda: self.status(topic)["version"] == version, what="the status of this version")
            until(
                lambda: broker.will is not None and json.loads(broker.will.payload)["version"] == version,
                what="its will",
            )
            assert broker.will is not None
            assert broker.will.topic == topic

    def status(self, topic: str) -> dict[str, Any]:
        with self.world.broker.lock:
            message = self.world.broker.retained.get(topic)
        status: dict[str, Any] = json.loads(message.payload) if message else {"version": None}
        return status

    def threads(self, prefix: str) -> list[str]:
        return [one.name[len(prefix) :] for one in threading.enumerate() if one.name.startswith(prefix)]

    def teardown(self) -> None:
        self.world.broker.come_back()
        ended = self.component.close()
        self.stack.close()
        assert ended
        self.each_result_was_published_once()

    def each_result_was_published_once(self) -> None:
        counts, accepted = self.component.counters.snapshot(), self.component.accepted
        assert counts["inferred"] == counts["published"] == len(accepted)
        published = self.world.broker.results()
        assert len(published) == len(accepted)
        for name in NAMES:
            numbers = [result.sequence for result in accepted if result.stream == name]
            assert numbers == list(range(len(numbers)))
        assert {(one["stream"], one["sequence"]) for _, one in published} == {(r.stream, r.sequence) for r in accepted}
        for topic, one in published:
            made = self.versions[one["version"]]["publish"]["topic"]
            assert topic == made.replace("{stream}", one["stream"]).replace("{model}", one["model_name"])
        assert len({one["run"] for _, one in published}) <= 1
        assert self.world.broker.most_open_sinks == 1


@pytest.mark.timeout(900)
def test_one_configuration_runs_whole_whatever_changes_and_whatever_fails(
    scenes_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    monkeypatch.setattr("emflow_edge.component._MEMORY_SECONDS", 0.2)
    monkeypatch.setattr("emflow_edge.component._AGENT_SECONDS", 0.5)
    monkeypatch.setattr(Changes, "model", scenes_model, raising=False)
    run_state_machine_as_test(
        Changes,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert not failures
