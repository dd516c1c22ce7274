"""What a run shows of itself: its log as JSON, metrics and status as messages, a page on loopback."""

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from edge.greengrass_core import THING, Core, publishing
from support import PATIENCE, Process, until

if TYPE_CHECKING:
    from edge.conftest import Edge

pytestmark = pytest.mark.e2e


@pytest.fixture
def core(tmp_path: Path, python: Callable[..., Process]) -> Iterator[Core]:
    core = Core(tmp_path, python)
    yield core
    core.close()


@pytest.fixture
def config(edge: "Edge", absent_port: int) -> dict[str, Any]:
    return {
        **publishing("em/inference", "em/status", "em/metrics"),
        "modelName": "scenes",
        "modelComponentName": f"{edge.model}/",
        "agentSocket": str(edge.socket),
        "streams": [{"name": "front", "url": edge.camera()[1], "every": "100ms"}],
        "publish": {"topic": "em/inference", "statusTopic": "em/status", "metricsTopic": "em/metrics"},
        "log": {"format": "json"},
        "metrics": {"every": "1s", "port": str(absent_port)},
        "version": "1.0.0",
    }


def adds_up(counts: dict[str, int]) -> bool:
    frames = counts["captured"] == counts["skipped"] + counts["inferred"] + counts["failed"]
    return frames and counts["inferred"] == counts["published"] + counts["dropped"] + counts["filtered"]


def refused(url: str) -> bool:
    """Whether nothing listens there."""
    try:
        urllib.request.urlopen(url, timeout=PATIENCE).close()
    except OSError as error:
        return "refused" in str(error)
    return False


def last_counts(text: str) -> dict[str, int]:
    (line,) = [line for line in text.splitlines() if "ended: " in line]
    return {name.replace(" ", "_"): int(count) for count, name in re.findall(r"(\d+) ([a-z ]+?)(?=[,\";]|$)", line)}


def test_status_metrics_and_log_tell_how_the_run_is(edge: "Edge", core: Core, config: dict[str, Any]) -> None:
    core.deploy(config)
    process = core.run()
    until(lambda: core.published("em/status"))
    assert core.published("em/status")[0]["status"] in ("starting", "degraded")
    until(lambda: [one for one in core.published("em/status") if one["streams"]["front"]["status"] == "no agent"])
    edge.agent()
    until(lambda: [one for one in core.published("em/status") if one["status"] == "running"])
    last = core.published("em/status")[-1]
    assert (last["thing"], last["version"]) == (THING, "1.0.0")
    assert {retain for topic, _, _, retain in core.device.published if topic == "em/status"} == {True}
    core.results(5)
    until(lambda: [one for one in core.published("em/metrics") if "predict" in one["latencies_ms"]])
    metrics = core.published("em/metrics")[-1]
    assert metrics["counters"]["captured"] >= metrics["counters_by_stream"]["front"]["inferred"] > 0
    assert metrics["latencies_ms"]["age"]["p50"] > 0
    assert process.end() == 0
    lines = [json.loads(line) for line in process.text().splitlines() if line.startswith("{")]
    assert {"time", "level", "message"} <= lines[-1].keys()
    assert [line for line in lines if line["message"].startswith("metrics: ")]
    assert [line["stream"] for line in lines if "confidence" in line["message"]] == ["front"]
    assert adds_up(last_counts(process.text()))


def test_the_page_has_metrics_and_the_newest_picture_for_as_long_as_it_is_wanted(
    edge: "Edge", core: Core, config: dict[str, Any]
) -> None:
    edge.agent()
    core.deploy(config)
    process = core.run()
    core.results(2)
    base = f"http://127.0.0.1:{config['metrics']['port']}"
    text = urllib.request.urlopen(f"{base}/metrics", timeout=PATIENCE).read().decode()
    assert re.search(r'^emflow_inferred_total\{stream="front"\} [1-9]', text, re.MULTILINE)
    data = urllib.request.urlopen(f"{base}/streams/front.jpg", timeout=PATIENCE).read()
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (480, 640, 3)
    core.deploy({**config, "metrics": {}})
    process.says("configuration changed")
    until(lambda: refused(f"{base}/metrics"), what="the page's end")
    core.results(2)
    assert process.end() == 0


def test_a_port_that_somebody_else_has_is_reported_and_stops_nothing(
    edge: "Edge", core: Core, config: dict[str, Any]
) -> None:
    edge.agent()
    camera = config["streams"][0]["url"].split(":")[2].split("/")[0]
    core.deploy({**config, "log": {}, "metrics": {"port": camera}})
    process = core.run()
    core.results(2)
    process.says(f"metrics.port: 127.0.0.1:{camera} cannot be listened on")
    assert process.end() == 0


def test_counters_add_up_whatever_went_away_meanwhile(edge: "Edge", core: Core, config: dict[str, Any]) -> None:
    agent = edge.agent()
    core.deploy({**config, "streams": [{**config["streams"][0], "every": "0s"}]})
    process = core.run()
    core.results(5)
    agent.end()
    process.says("it is loaded again")
    edge.agent()
    core.results(5)
    core.stop()
    process.says("cannot be published")
    core.start()
    core.results(5)
    assert process.end() == 0
    counts = last_counts(process.text())
    assert counts["inferred"] > 10
    assert adds_up(counts), counts
