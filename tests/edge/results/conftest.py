"""A publisher to an outlet whose other side the test holds."""

from __future__ import annotations

from typing import Any

import pytest

from edge.results.scripted_sink import Make, ScriptedSink
from emflow_edge.metrics.counters import Counters
from emflow_edge.metrics.latencies import StageLatencies
from emflow_edge.results.publisher import Publisher
from emflow_schema.edge_config import Publish


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher that tries again after a moment: most tests here wait for that several times."""
    monkeypatch.setattr("emflow_edge.results.publisher._RETRIES", (0.02, 0.2))


@pytest.fixture
def other() -> ScriptedSink:
    return ScriptedSink()


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def publisher(other: ScriptedSink, counters: Counters) -> Make:
    def make(to: Publish | None = None, **options: Any) -> Publisher:
        finished = options.pop("finished", lambda _: None)
        timings = options.pop("timings", StageLatencies())
        publisher = Publisher(other, to or Publish(), counters, timings, finished, **options)
        publisher.start()
        return publisher

    return make
