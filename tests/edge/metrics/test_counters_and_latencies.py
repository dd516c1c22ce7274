import math
import random
import threading

import pytest

from emflow_edge.metrics.counters import Counters
from emflow_edge.metrics.latencies import LatencyHistogram


def test_what_a_stream_counts_the_whole_counts_too_whoever_counts_at_once() -> None:
    whole = Counters()

    def count(stream: str) -> None:
        for _ in range(5000):
            whole.for_stream(stream).add("captured")
            whole.for_stream(stream).add("skipped", 2)

    threads = [threading.Thread(target=count, args=(name,)) for name in ("front", "back", "front")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (whole.snapshot()["captured"], whole.snapshot()["skipped"]) == (15000, 30000)
    assert {name: counts["captured"] for name, counts in whole.streams().items()} == {"front": 10000, "back": 5000}


def test_a_count_that_nobody_knows_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        Counters().add("guessed")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_percentiles_are_within_a_twentieth_of_the_true_ones(clock: Clock) -> None:
    latencies, chance = LatencyHistogram(clock=clock), random.Random(3)
    times = sorted(chance.lognormvariate(math.log(20), 0.7) for _ in range(5000))
    for time in times:
        latencies.add(time)
    spread = latencies.percentiles()
    assert spread is not None
    assert spread.count == 5000
    assert spread.p50 == pytest.approx(times[2500], rel=0.05)
    assert spread.p99 == pytest.approx(times[4950], rel=0.05)


def test_times_of_over_a_minute_ago_are_forgotten_and_no_others(clock: Clock) -> None:
    latencies = LatencyHistogram(clock=clock)
    latencies.add(1000)
    clock.now += 30
    latencies.add(10)
    spread = latencies.percentiles()
    assert spread
    assert (spread.count, spread.p99) == (2, pytest.approx(1000, rel=0.05))
    clock.now += 35
    spread = latencies.percentiles()
    assert spread
    assert (spread.count, spread.p99) == (1, pytest.approx(10, rel=0.05))
    clock.now += 100
    assert latencies.percentiles() is None


@pytest.mark.parametrize("milliseconds", [0.0, -1.0, 1e12])
def test_times_beyond_all_bounds_count_as_the_nearest(clock: Clock, milliseconds: float) -> None:
    latencies = LatencyHistogram(clock=clock)
    latencies.add(milliseconds)
    spread = latencies.percentiles()
    assert spread
    assert spread.count == 1
