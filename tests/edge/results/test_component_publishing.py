"""The component as a process: templates, filters and their change while it runs, through a nucleus."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge.greengrass_core import THING, Core, publishing
from support import Process, until

if TYPE_CHECKING:
    from edge.conftest import Edge

pytestmark = pytest.mark.e2e
TOPIC = f"em/{THING}/front/scenes"


@pytest.fixture
def core(tmp_path: Path, python: Callable[..., Process]) -> Iterator[Core]:
    core = Core(tmp_path, python)
    yield core
    core.close()


def test_what_is_filtered_and_where_it_goes_follow_the_configuration(edge: Edge, core: Core) -> None:
    edge.agent()
    # One picture, which is one class for ever.
    _, url = edge.camera("--dwell", "3600")
    publish = {"topic": "em/{thing}/{stream}/{model}", "threshold": "1.0"}
    config = {
        **publishing(TOPIC, "em/metrics"),
        "modelName": "scenes",
        "modelComponentName": f"{edge.model}/",
        "agentSocket": str(edge.socket),
        "streams": [{"name": "front", "url": url, "every": "50ms"}],
        "metrics": {"every": "1s"},
    }

    def deploy(**more: str) -> None:
        core.deploy({**config, "publish": {"metricsTopic": "em/metrics", **publish, **more}})

    def counted() -> dict[str, int]:
        told = core.published("em/metrics")
        counts: dict[str, int] = told[-1]["counters"] if told else {"filtered": 0, "published": 0}
        return counts

    deploy()
    process = core.run()
    until(lambda: counted()["filtered"] > 10, what="results that are not sure enough")
    assert core.published(TOPIC) == []
    deploy(threshold="0.0", onChange="true")
    until(lambda: len(core.published(TOPIC)) == 1, what="the one result that is new")
    before = counted()["filtered"]
    until(lambda: counted()["filtered"] > before + 10, what="more of the same")
    assert len(core.published(TOPIC)) == 1
    deploy(threshold="0.0")
    until(lambda: len(core.published(TOPIC)) > 10, what="all results")
    assert process.end() == 0
    ended = process.text().partition("ended: ")[2]
    now = {name: int(count) for count, name in re.findall(r"(\d+) ([a-z]+)", ended)}
    assert now["inferred"] == now["published"] + now["dropped"] + now["filtered"]
    assert "cannot be published" not in process.text()
