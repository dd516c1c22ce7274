"""Latencies of the last minute: percentiles from histograms of constant size."""

from __future__ import annotations

import math
import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass

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


class StageLatencies:
    """Latencies of each stage in milliseconds. preprocess: frame to model input; predict: the whole call; age: age of
    the frame when its result was published.
    """

    def __init__(self) -> None:
        self.preprocess, self.predict, self.age = LatencyHistogram(), LatencyHistogram(), LatencyHistogram()

    def snapshot(self) -> dict[str, Percentiles | None]:
        return {
            "preprocess": self.preprocess.percentiles(),
            "predict": self.predict.percentiles(),
            "age": self.age.percentiles(),
        }

    def __str__(self) -> str:
        known = [(name, percentiles) for name, percentiles in self.snapshot().items() if percentiles]
        return ", ".join(f"{name} p50 {one.p50:.1f} ms p99 {one.p99:.1f} ms" for name, one in known)
