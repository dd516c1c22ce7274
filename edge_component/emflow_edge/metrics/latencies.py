"""Latencies: percentiles of the last minute, and counts since the start, from histograms of constant size."""

from __future__ import annotations

import math
import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

from emflow_schema.percentile import nearest_rank

# Bounds grow by a twentieth, so a percentile is right within 5 %: from 0.05 ms to over an hour.
_FIRST, _GROWTH = 0.05, 1.05
_BUCKETS = 380
_SLICES = 12
_LOG = math.log(_GROWTH)


@dataclass(frozen=True)
class Percentiles:
    """Percentiles in milliseconds, precise within 5 %; count: number of values."""

    count: int
    p50: float
    p99: float


class LatencyHistogram:
    """Latencies of the last `span` seconds, in twelve slices of which the oldest is dropped.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, span: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._slice, self._clock = span / _SLICES, clock
        self._counts = [array("L", bytes(array("L").itemsize * _BUCKETS)) for _ in range(_SLICES)]
        self._ages = [-1] * _SLICES
        self._lock = threading.Lock()

    def add(self, milliseconds: float) -> None:
        bucket = int(math.log(max(milliseconds, _FIRST) / _FIRST) / _LOG)
        with self._lock:
            self._current()[min(bucket, _BUCKETS - 1)] += 1

    def percentiles(self) -> Percentiles | None:
        """The percentiles; None without values."""
        with self._lock:
            self._current()
            oldest = int(self._clock() / self._slice) - _SLICES
            kept = [counts for counts, age in zip(self._counts, self._ages) if age > oldest]
            sums = [sum(column) for column in zip(*kept)]
        count = sum(sums)
        if not count:
            return None
        return Percentiles(count, *(_value(sums, nearest_rank(count, share)) for share in (0.5, 0.99)))

    def _current(self) -> array[int]:
        age = int(self._clock() / self._slice)
        place = age % _SLICES
        if self._ages[place] != age:
            self._ages[place] = age
            self._counts[place] = array("L", bytes(array("L").itemsize * _BUCKETS))
        return self._counts[place]


def _value(sums: list[int], rank: int) -> float:
    """The middle of the bucket that holds the value of a rank, counted from 1."""
    seen = 0
    for bucket, count in enumerate(sums):
        seen += count
        if seen >= rank:
            return round(_FIRST * math.pow(_GROWTH, bucket + 0.5), 3)
    return 0.0


TIMING_NAMES = ("preprocess", "predict", "age")

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets of a `CumulativeHistogram` in seconds; one more has no bound."""


@dataclass(frozen=True)
class Distribution:
    """Durations since the start. counts: for each of BOUNDS, those up to it, and all of them; sum: of seconds."""

    counts: tuple[int, ...]
    sum: float

    @property
    def count(self) -> int:
        return self.counts[-1]


class CumulativeHistogram:
    """All durations since the start, as Prometheus counts them: readers compute rates and percentiles of any time, and
    add up those of several devices.

    Args:
        whole: gets each duration too.
    """

    def __init__(self, whole: LatencyHistogram) -> None:
        self._whole = whole
        self._lock = threading.Lock()
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    def add(self, milliseconds: float) -> None:
        seconds = max(0.0, milliseconds) / 1000
        with self._lock:
            self._counts[bisect_left(BOUNDS, seconds)] += 1
            self._sum += seconds
        self._whole.add(milliseconds)

    def snapshot(self) -> Distribution:
        with self._lock:
            return Distribution(tuple(accumulate(self._counts)), self._sum)


class StreamLatencies:
    """Latencies of one stream, since the start; those of the last minute are in the whole."""

    def __init__(self, whole: StageLatencies) -> None:
        self.preprocess, self.predict, self.age = map(CumulativeHistogram, (whole.preprocess, whole.predict, whole.age))

    def snapshot(self) -> dict[str, Distribution]:
        return {name: getattr(self, name).snapshot() for name in TIMING_NAMES}


class StageLatencies:
    """Latencies of each stage in milliseconds. preprocess: frame to model input; predict: the whole call; age: age of
    the frame when its result was published.
    """

    def __init__(self) -> None:
        self.preprocess, self.predict, self.age = LatencyHistogram(), LatencyHistogram(), LatencyHistogram()
        self._lock = threading.Lock()
        self._streams: dict[str, StreamLatencies] = {}

    def for_stream(self, stream: str) -> StreamLatencies:
        """The latencies of one stream; a new stream with the same name continues them."""
        with self._lock:
            return self._streams.setdefault(stream, StreamLatencies(self))

    def streams(self) -> dict[str, dict[str, Distribution]]:
        """The latencies of each stream since the start, by its name and stage."""
        with self._lock:
            streams = dict(self._streams)
        return {name: latencies.snapshot() for name, latencies in streams.items()}

    def snapshot(self) -> dict[str, Percentiles | None]:
        """The percentiles of the last minute, of all streams together."""
        return {name: getattr(self, name).percentiles() for name in TIMING_NAMES}

    def __str__(self) -> str:
        known = [(name, percentiles) for name, percentiles in self.snapshot().items() if percentiles]
        return ", ".join(f"{name} p50 {one.p50:.1f} ms p99 {one.p99:.1f} ms" for name, one in known)
