import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from emflow_edge.counters import Counters
from emflow_edge.problems import EdgeProblem
from emflow_edge.results.message import Result
from emflow_edge.results.publish import Publisher
from emflow_edge.vision.decode import Choice
from support import until


class Broker:
    """An outlet whose other side the test holds: it takes nothing, or fails, for as long as the test says."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.broken = False
        self.asked = 0
        self.taken: list[dict[str, Any]] = []
        self.closed = False

    def send(self, payload: str) -> None:
        self.asked += 1
        self.open.wait(10)
        if self.broken:
            raise ConnectionError("broker away")
        self.taken.append(json.loads(payload))

    def close(self) -> None:
        self.closed = True

    @property
    def sequences(self) -> list[int]:
        return [message["sequence"] for message in self.taken]


def result(sequence: int) -> Result:
    return Result("front", sequence, time.time(), 5.0, "net", "thing", "1.0.0", (Choice(1, "cat", 0.9),))


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def publisher(broker: Broker) -> Callable[..., Publisher]:
    def make(counters: Counters, **options: Any) -> Publisher:
        publisher = Publisher(broker, counters, options.pop("finished", lambda _: None), **options)
        publisher.start()
        return publisher

    return make


def test_results_arrive_in_order(broker: Broker, publisher: Callable[..., Publisher]) -> None:
    broker.open.set()
    counters = Counters()
    out = publisher(counters)
    for number in range(50):
        out.put(result(number))
    assert out.close(grace=10)
    assert broker.sequences == list(range(50))
    assert (counters.now()["published"], counters.now()["dropped"]) == (50, 0)
    assert broker.closed


def test_a_broker_that_hangs_holds_nobody_up_and_the_oldest_results_go(
    broker: Broker, publisher: Callable[..., Publisher]
) -> None:
    counters = Counters()
    out = publisher(counters, depth=3)
    out.put(result(0))
    until(lambda: broker.asked, what="the first result on its way")
    begin = time.monotonic()
    for number in range(1, 1000):
        out.put(result(number))
    assert time.monotonic() - begin < 5
    broker.open.set()
    assert out.close(grace=10)
    # The first was on its way already; of the others the newest three were kept.
    assert broker.sequences == [0, 997, 998, 999]
    assert (counters.now()["published"], counters.now()["dropped"]) == (4, 996)


def test_what_was_not_taken_is_tried_again_and_said_once(
    broker: Broker, publisher: Callable[..., Publisher], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    broker.open.set()
    broker.broken = True
    counters = Counters()
    out = publisher(counters)
    out.put(result(0))
    out.put(result(1))
    until(lambda: broker.asked >= 3, what="three tries")
    broker.broken = False
    until(lambda: len(broker.taken) == 2, what="both results")
    assert broker.sequences == [0, 1]
    assert out.close(grace=10)
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "results cannot be published: broker away; keeping the newest 100 and trying on",
        "publishing again",
    ]


def test_what_still_waits_at_the_end_is_counted_as_dropped(broker: Broker, publisher: Callable[..., Publisher]) -> None:
    broker.open.set()
    broker.broken = True
    counters = Counters()
    out = publisher(counters)
    for number in range(5):
        out.put(result(number))
    until(lambda: broker.asked, what="a try")
    begin = time.monotonic()
    out.close(grace=0.3)
    assert time.monotonic() - begin < 5
    assert (counters.now()["published"], counters.now()["dropped"]) == (0, 5)


def test_it_ends_after_as_many_results_as_were_wanted(broker: Broker, publisher: Callable[..., Publisher]) -> None:
    broker.open.set()
    finished: list[EdgeProblem | None] = []
    out = publisher(Counters(), limit=3, finished=finished.append)
    for number in range(10):
        out.put(result(number))
    until(lambda: finished, what="the end")
    assert broker.sequences == [0, 1, 2]
    assert finished == [None]


def test_an_age_is_counted_to_the_moment_of_sending(broker: Broker, publisher: Callable[..., Publisher]) -> None:
    now = [1000.0]
    out = publisher(Counters(), clock=lambda: now[0])
    for number in range(2):
        out.put(replace(result(number), taken=999.75))
    until(lambda: broker.asked, what="the first result on its way")
    now[0] += 0.125
    broker.open.set()
    assert out.close(grace=10)
    assert [message["frame_age_ms"] for message in broker.taken] == [250, 375]
