import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from emflow_edge.metrics.counters import Counters
from emflow_edge.metrics.latencies import StageLatencies
from emflow_edge.observability.exposition import MetricsExporter
from emflow_edge.observability.http import MetricsServer
from emflow_edge.observability.status import Status

ODD = 'front "\\door\n'
_LINE = re.compile(r'[a-z_]+(\{[a-z]+="(?:[^"\\\n]|\\["\\n])*"(?:,[a-z]+="(?:[^"\\\n]|\\["\\n])*")*\})? [0-9.e+-]+')


@pytest.fixture
def metrics() -> MetricsExporter:
    counters, timings, status = Counters(), StageLatencies(), Status()
    status.set_streams((ODD,))
    counters.for_stream(ODD).add("captured", 7)
    counters.for_stream(ODD).add("inferred", 5)
    counters.add("published", 4)
    for _ in range(100):
        timings.for_stream(ODD).predict.add(20.0)
    timings.for_stream(ODD).predict.add(12_000.0)
    return MetricsExporter("board", "1.2.3", counters, timings, status)


@pytest.fixture
def page(metrics: MetricsExporter) -> Iterator[MetricsServer]:
    page = MetricsServer(0, metrics, lambda name: b"a picture" if name == "front/é" else None)
    yield page
    page.close()


def get(page: MetricsServer, path: str, **headers: str) -> tuple[str, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{page.port}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers["Content-Type"], answer.read()


def test_prometheus_gets_lines_that_it_can_read(page: MetricsServer) -> None:
    kind, body = get(page, "/metrics")
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    lines = body.decode().splitlines()
    assert all(line.startswith(("# HELP ", "# TYPE ")) or _LINE.fullmatch(line) for line in lines)
    assert 'emflow_captured_total{stream="front \\"\\\\door\\n"} 7' in lines
    assert "emflow_published_total 4" in lines
    names = [line.split()[2] for line in lines if line.startswith("# TYPE ")]
    assert len(names) == len(set(names))


def test_latencies_are_a_histogram_of_each_stream_and_station(page: MetricsServer) -> None:
    lines = get(page, "/metrics")[1].decode().splitlines()
    assert "# TYPE emflow_latency_seconds histogram" in lines
    samples = dict(line.rsplit(" ", 1) for line in lines if line.startswith("emflow_latency_seconds_"))
    stream = 'stream="front \\"\\\\door\\n",station="predict"'
    assert float(samples[f"emflow_latency_seconds_sum{{{stream}}}"]) == pytest.approx(14.0)
    assert samples[f"emflow_latency_seconds_count{{{stream}}}"] == "101"
    buckets = [
        (match[1], int(count)) for name, count in samples.items() if (match := re.search(r'"predict",le="(.+)"', name))
    ]
    # Cumulative, in rising order, and the last has all.
    assert [float(bound) for bound, _ in buckets] == sorted(float(bound) for bound, _ in buckets)
    assert dict(buckets)["0.01"] == 0
    assert dict(buckets)["0.025"] == dict(buckets)["10.0"] == 100
    assert buckets[-1] == ("+Inf", 101)
    assert samples[f"emflow_latency_seconds_count{{{stream.replace('predict', 'age')}}}"] == "0"


def test_no_metric_has_a_label_that_belongs_to_a_summary(page: MetricsServer) -> None:
    assert "quantile=" not in get(page, "/metrics")[1].decode()


def test_the_message_has_counters_latencies_and_status(metrics: MetricsExporter) -> None:
    told = json.loads(metrics.message())
    assert (told["thing"], told["version"], told["status"]) == ("board", "1.2.3", "starting")
    assert (told["counters"]["captured"], told["counters_by_stream"][ODD]["inferred"]) == (7, 5)
    assert told["latencies_ms"]["predict"]["count"] == 101
    assert "preprocess" not in told["latencies_ms"]


def test_the_log_line_has_them_too(metrics: MetricsExporter) -> None:
    assert "7 captured, 0 skipped, 5 inferred" in metrics.log_line()
    assert re.search(r"predict p50 (19|20|21)\.\d ms p99 ", metrics.log_line())


def test_pictures_are_drawn_when_they_are_asked_for(page: MetricsServer) -> None:
    assert get(page, "/streams/front%2F%C3%A9.jpg") == ("image/jpeg", b"a picture")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(page, "/streams/back.jpg")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(page, "/../etc/passwd")


def test_a_page_elsewhere_that_a_browser_has_open_cannot_read_it(page: MetricsServer) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        get(page, "/metrics", Host="evil.example:80")
    assert get(page, "/status", Host=f"localhost:{page.port}")[0] == "application/json"
