"""Metrics in the formats of their readers: a log line, a JSON message, and the Prometheus text format."""

from __future__ import annotations

import logging
from typing import Any

from emflow_edge.metrics.counters import Counters
from emflow_edge.metrics.latencies import BOUNDS, StageLatencies
from emflow_edge.observability.status import Status
from emflow_edge.timestamps import utc_now
from emflow_schema.json_text import json_text_with_nulls

log = logging.getLogger(__name__)

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_HELP = {
    "captured": "Frames that cameras delivered",
    "skipped": "Frames that nobody wanted or that a newer one replaced",
    "inferred": "Results of the agent",
    "failed": "Predict calls without a result",
    "published": "Results that were published",
    "dropped": "Results that waited too long to be published",
    "filtered": "Results that were not to be published",
    "reconnects": "Times that a camera came back",
    "captures": "Results whose tensors were captured",
    "captures_failed": "Results whose tensors could not be captured",
}
# Counted for each stream; results are counted in the publisher, for all streams together.
_OF_A_STREAM = ("captured", "skipped", "inferred", "failed", "reconnects")


class MetricsExporter:
    """Exports counters, latencies and status."""

    def __init__(self, thing: str, version: str, counters: Counters, timings: StageLatencies, status: Status) -> None:
        self.thing, self.version = thing, version
        self._counters, self._timings, self._status = counters, timings, status

    def log_line(self) -> str:
        """One log line: counters since the start, and latencies of the last minute."""
        timings = str(self._timings)
        return f"{self._counters}{f'; {timings}' if timings else ''}; {self._status.snapshot()['status']}"

    def as_dict(self) -> dict[str, Any]:
        """counters, streams: {name: counters}, latencies_ms: {station: {p50, p99, count}}, status; for JSON."""
        return {
            "thing": self.thing,
            "version": self.version,
            "time": utc_now(),
            **self._status.snapshot(),
            "counters": self._counters.snapshot(),
            "counters_by_stream": {
                name: {key: counts[key] for key in _OF_A_STREAM} for name, counts in self._counters.streams().items()
            },
            "latencies_ms": {
                station: {"p50": percentiles.p50, "p99": percentiles.p99, "count": percentiles.count}
                for station, percentiles in self._timings.snapshot().items()
                if percentiles
            },
        }

    def message(self) -> str:
        return json_for_readers(self.as_dict(), "metrics")

    def prometheus(self) -> str:
        """The text exposition format, https://prometheus.io/docs/instrumenting/exposition_formats/."""
        # Not with a library: the format is simple, and the board needs no additional package.
        lines: list[str] = []
        whole, streams = self._counters.snapshot(), sorted(self._counters.streams().items())
        for name, about in _HELP.items():
            metric = f"emflow_{name}_total"
            lines += [f"# HELP {metric} {about}.", f"# TYPE {metric} counter"]
            if name in _OF_A_STREAM:
                lines += [f"{metric}{_labels(stream=stream)} {counts[name]}" for stream, counts in streams]
            else:
                lines.append(f"{metric} {whole[name]}")
        lines += _latencies(self._timings)
        status = self._status.snapshot()
        lines += ["# HELP emflow_running Whether a stream gives results.", "# TYPE emflow_running gauge"]
        for stream, one in sorted(status["streams"].items()):
            running = int(one["status"] == "running")
            lines.append(f"emflow_running{_labels(stream=stream, status=one['status'])} {running}")
        return "\n".join([*lines, ""])


def json_for_readers(value: Any, what: str) -> str:
    """JSON text of what is published beside results. A number that is none is null in it, with a line in the log."""
    text, wrong = json_text_with_nulls(value)
    if wrong:
        log.warning("%s: %s is no finite number; null is sent instead", what, wrong[0])
    return text


def _latencies(timings: StageLatencies) -> list[str]:
    """A histogram for each stream and station."""
    name = "emflow_latency_seconds"
    lines = [
        f"# HELP {name} Time of a stream for: preprocess, predict (the whole call), age (of a frame when published).",
        f"# TYPE {name} histogram",
    ]
    for stream, stations in sorted(timings.streams().items()):
        for station, spread in stations.items():
            for bound, count in zip((*map(str, BOUNDS), "+Inf"), spread.counts):
                lines.append(f"{name}_bucket{_labels(stream=stream, station=station, le=bound)} {count}")
            labels = _labels(stream=stream, station=station)
            lines += [f"{name}_sum{labels} {spread.sum:.9g}", f"{name}_count{labels} {spread.count}"]
    return lines


def _labels(**labels: str) -> str:
    escaped = {key: text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for key, text in labels.items()}
    return "{" + ",".join(f'{key}="{text}"' for key, text in escaped.items()) + "}"
