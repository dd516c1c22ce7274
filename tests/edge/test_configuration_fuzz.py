"""Configurations that nobody would write: each is taken or refused with one sentence, and a run goes on either way."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.http_camera import camera
from edge.scripted_agent import ScriptedAgent, served
from emflow_edge.component import Component
from emflow_edge.results.sinks import Message
from emflow_edge.settings.config import KNOWN
from emflow_edge.settings.config import settings as read
from emflow_edge.settings.flags import overlay, parse
from emflow_schema.errors import ConfigProblem, EdgeProblem
from support import until

SECTIONS = {
    "modelIO": ["task", "color", "resize", "mean", "std", "activation", "labels", "classOffset", "topK", "threshold"],
    "publish": ["topic", "qos", "onChange", "threshold", "every", "statusTopic", "metricsTopic", "mqtt"],
    "capture": ["enabled", "every"],
    "log": ["format", "level"],
    "metrics": ["every"],
}
STREAM = ["name", "url", "every", "transport", "backend", "pipeline", "credentials", "ca", "openTimeout", "frozenAfter"]
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["0", "1", "-1", "1e9", "nan", "inf", "1s", "5 frames", "0 frames", "true", "False", "em/{thing}"]),
    st.sampled_from(["rgb", "softmax", "detection", "letterbox", "json", "tcp", "opencv", "rtsp://127.0.0.1:1/x"]),
    st.sampled_from(
        ["rtsp://u:p@[::1/x", "http://h:99999/", "file:///", "v4l2:///dev/null", "\ud800", "a\0b", "{", "#"]
    ),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


def some_of(keys: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(keys), VALUES, max_size=4)


CONFIGURATIONS = st.one_of(
    st.dictionaries(st.one_of(st.sampled_from(sorted(KNOWN)), TEXTS), VALUES, max_size=6),
    st.fixed_dictionaries({}, optional={name: some_of(keys) for name, keys in SECTIONS.items()}),
    st.fixed_dictionaries({"streams": st.lists(some_of(STREAM), max_size=3)}),
    st.fixed_dictionaries({"modelName": st.sampled_from(["net", "other", "refused", "full"])}),
)


@settings(max_examples=400, deadline=None)
@given(CONFIGURATIONS)
def test_what_cannot_be_read_is_one_sentence_without_a_traceback(config: dict[str, Any]) -> None:
    assert "\n" not in refusal(
        {"modelName": "net", "modelComponentName": "m", "rtspStreamURL": "rtsp://cam/1", **config}
    )


def refusal(config: dict[str, Any]) -> str:
    """Why a configuration is not taken; empty when it is."""
    try:
        read(overlay(config, parse(["--every", "2s"])))
    except ConfigProblem as problem:
        return str(problem) or "\n"
    return ""


OURS = {"camera-front", "camera-side", "infer-front-0", "infer-front-1", "infer-side-0", "infer-side-1"} | {
    *("loading", "publisher", "watcher")
}


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name in OURS]


class MessageSink:
    """Takes everything."""

    def __init__(self) -> None:
        self.results = 0

    def open(self, lost: Callable[[], object], will: Message | None) -> None: ...

    def send(self, message: Message) -> Future[Any]:
        self.results += "sequence" in json.loads(message.payload)
        sent: Future[Any] = Future()
        sent.set_result(None)
        return sent

    def close(self) -> None: ...


class Running:
    """A component with one camera, and whatever went wrong in its threads."""

    def __init__(self, folder: Path, url: str) -> None:
        self.good: dict[str, Any] = {
            "modelName": "net",
            "modelComponentName": f"{folder}/",
            "agentSocket": str(folder / "a.sock"),
            "streams": [{"name": "front", "url": url, "every": "0s"}],
        }
        self.outlet = MessageSink()
        self.ended: list[Any] = []
        self.component = Component("thing", lambda _: self.outlet, lambda name: ("", ""), self.ended.append)
        self.component.start(read(self.good))

    def change(self, config: dict[str, Any]) -> bool:
        before = self.component.settings
        try:
            new = read({**self.good, **config})
            new = dataclasses.replace(new, agent_socket=self.good["agentSocket"])
            self.component.change(new)
        except EdgeProblem:
            assert self.component.settings is before
            return False
        return True


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    failures: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    agent = ScriptedAgent()
    with served(agent, tmp_path / "a.sock"), camera("viewer", "secret") as front:
        running = Running(tmp_path, front.url.replace("http://", "http://viewer:secret@"))
        until(lambda: running.outlet.results > 2)
        yield running
        running.component.close()
    assert not failures


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(config=CONFIGURATIONS)
def test_a_run_goes_on_with_what_it_can_take_and_keeps_what_it_had_otherwise(
    running: Running, config: dict[str, Any]
) -> None:
    running.change(config)
    assert not running.ended


def test_after_many_changes_the_first_configuration_works_and_nothing_is_left(
    running: Running,
) -> None:
    begun = sorted(threads())
    other = {"name": "side", "url": "rtsp://127.0.0.1:1/x"}
    for config in (
        {"streams": [other]},
        {"streams": [other, {**running.good["streams"][0], "every": "5 frames"}]},
        {"modelName": "other"},
        {"publish": {"topic": "em/other"}},
        {"modelIO": {"topK": "1"}, "capture": {"enabled": "true"}, "metrics": {"every": "1s"}},
        {},
    ) * 3:
        assert running.change(config)
    before = running.outlet.results
    until(lambda: running.outlet.results > before + 3)
    until(lambda: sorted(threads()) == begun, what=f"{begun} and no others")
    assert running.component.close()
    counts = running.component.counters.snapshot()
    assert counts["captured"] == counts["skipped"] + counts["inferred"] + counts["failed"]
    assert counts["inferred"] == counts["published"] + counts["dropped"] + counts["filtered"]
