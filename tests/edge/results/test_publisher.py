"""Results on their way out: in order, kept while the broker is away, each counted once."""

import json
import time
from dataclasses import replace

import pytest

from edge.results.scripted_sink import Make, ScriptedSink, counted, result
from emflow_edge.metrics.counters import Counters
from emflow_edge.metrics.latencies import StageLatencies
from emflow_edge.results.publisher import MAX_IN_FLIGHT
from emflow_edge.results.sinks import MessageRejected, offline_messages
from emflow_schema.edge_config import Publish
from emflow_schema.errors import EdgeProblem
from support import until


def test_results_arrive_in_order(other: ScriptedSink, publisher: Make, counters: Counters) -> None:
    out = publisher()
    for number in range(50):
        out.put(result(number))
    assert out.close(grace=10)
    assert other.sequences() == list(range(50))
    assert counted(counters) == (50, 0, 0)
    assert other.closed


def test_several_are_under_way_at_a_time_but_not_more_than_are_good(other: ScriptedSink, publisher: Make) -> None:
    other.answers = False
    out = publisher()
    for number in range(MAX_IN_FLIGHT + 10):
        out.put(result(number))
    until(lambda: len(other.asked) == MAX_IN_FLIGHT, what="as many as may be under way")
    other.answer()
    assert out.close(grace=10)
    assert other.sequences() == list(range(MAX_IN_FLIGHT + 10))


def test_a_broker_that_hangs_holds_nobody_up_and_the_oldest_results_go(
    other: ScriptedSink, publisher: Make, counters: Counters
) -> None:
    other.answers = False
    out = publisher(depth=3)
    for number in range(MAX_IN_FLIGHT):
        out.put(result(number))
        until(lambda sent=number + 1: len(other.asked) == sent, what="it to be under way")
    begin = time.monotonic()
    for number in range(MAX_IN_FLIGHT, 1000):
        out.put(result(number))
    assert time.monotonic() - begin < 20
    other.answer()
    assert out.close(grace=10)
    assert other.sequences() == [*range(MAX_IN_FLIGHT), 997, 998, 999]
    assert counted(counters) == (MAX_IN_FLIGHT + 3, 1000 - MAX_IN_FLIGHT - 3, 0)


def test_after_an_outage_the_newest_go_out_first_and_what_was_too_much_is_counted(
    other: ScriptedSink, publisher: Make, counters: Counters
) -> None:
    other.absent = ConnectionError("broker away")
    out = publisher(depth=4)
    for number in range(10):
        out.put(result(number))
    until(lambda: other.tries >= 2, what="two tries")
    other.absent = None
    until(lambda: counters.snapshot()["published"] == 4, what="what was kept")
    assert other.sequences() == [9, 8, 7, 6]
    out.put(result(10))
    out.put(result(11))
    assert out.close(grace=10)
    assert other.sequences() == [9, 8, 7, 6, 10, 11]
    assert counted(counters) == (6, 6, 0)


def test_what_was_under_way_when_the_connection_was_lost_is_sent_again(
    other: ScriptedSink, publisher: Make, counters: Counters
) -> None:
    other.answers = False
    out = publisher()
    for number in range(3):
        out.put(result(number))
    until(lambda: len(other.asked) == 3, what="three under way")
    first = list(other.asked)
    other.asked.clear()
    other.answers = True
    first_connection = other.hang_up
    first_connection()
    until(lambda: len(other.taken) == 3, what="all again")
    # Whatever the old connection says now is nothing new.
    for _, answer in first:
        answer.set_result(None)
    first_connection()
    out.put(result(3))
    until(lambda: len(other.taken) == 4, what="one more over the same connection")
    assert out.close(grace=10)
    assert (other.opened, other.sequences()) == (2, [2, 1, 0, 3])
    assert counted(counters) == (4, 0, 0)


def test_an_outlet_that_cannot_even_be_closed_is_opened_again(
    other: ScriptedSink, publisher: Make, counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError("no such connection")

    monkeypatch.setattr(other, "close", fails)
    words = offline_messages(Publish(status_topic="status"), "thing", "1.0.0")
    out = publisher(offline_messages=words)
    until(lambda: other.opened == 1, what="a connection")
    other.hang_up()
    out.put(result(0))
    until(lambda: counters.snapshot()["published"] == 1, what="the result")
    monkeypatch.setattr(other, "send", fails)
    assert out.close(grace=5)
    assert other.opened == 2


def test_what_is_never_answered_is_sent_again(other: ScriptedSink, publisher: Make, counters: Counters) -> None:
    other.answers = False
    out = publisher(timeout=0.2)
    out.put(result(0))
    until(lambda: other.opened == 2, what="another connection")
    other.answers = True
    until(lambda: counters.snapshot()["published"] == 1, what="the result")
    assert out.close(grace=10)


def test_what_was_not_taken_is_tried_again_and_said_once(
    other: ScriptedSink, publisher: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    other.refuses["em/inference"] = ConnectionError("broker away")
    troubles: list[str] = []
    out = publisher(failing=troubles.append)
    out.put(result(0))
    out.put(result(1))
    until(lambda: other.opened >= 3, what="three tries")
    other.refuses.clear()
    assert out.close(grace=10)
    assert sorted(other.sequences()) == [0, 1]
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "results cannot be published: broker away; keeping the newest 100 and retrying",
        "publishing works again",
    ]
    assert troubles == ["broker away", ""]


def test_what_is_refused_is_not_tried_again_and_other_topics_go_on(
    other: ScriptedSink, publisher: Make, counters: Counters, caplog: pytest.LogCaptureFixture
) -> None:
    other.refuses["em/side"] = MessageRejected("not authorized")
    troubles: list[str] = []
    out = publisher(Publish("em/{stream}"), failing=troubles.append)
    for number in range(5):
        out.put(result(number))
        out.put(result(number, stream="side"))
    assert out.close(grace=10)
    assert other.sequences("em/front") == [0, 1, 2, 3, 4]
    assert counted(counters) == (5, 5, 0)
    assert [record.getMessage() for record in caplog.records] == [
        "results cannot be published: em/side is rejected: not authorized"
    ]
    # The first topic works; the trouble of the other is told, and stays.
    assert troubles == ["", "not authorized"]


def test_what_still_waits_at_the_end_is_counted_as_dropped(
    other: ScriptedSink, publisher: Make, counters: Counters
) -> None:
    other.absent = ConnectionError("broker away")
    out = publisher()
    for number in range(5):
        out.put(result(number))
    until(lambda: other.tries, what="a try")
    begin = time.monotonic()
    assert out.close(grace=0.3)
    assert time.monotonic() - begin < 20
    out.put(result(5))
    assert counted(counters) == (0, 6, 0)


def test_what_is_under_way_at_the_end_is_counted_once(other: ScriptedSink, publisher: Make, counters: Counters) -> None:
    other.answers = False
    out = publisher()
    out.put(result(0))
    until(lambda: other.asked, what="it to be under way")
    assert out.close(grace=0.3)
    other.answer()
    assert counted(counters) == (0, 1, 0)


def test_it_ends_after_as_many_results_as_were_wanted(other: ScriptedSink, publisher: Make) -> None:
    finished: list[EdgeProblem | None] = []
    out = publisher(limit=3, finished=finished.append)
    for number in range(10):
        out.put(result(number))
    until(lambda: finished, what="the end")
    assert other.sequences() == [0, 1, 2]
    assert finished == [None]


def test_an_outlet_that_will_never_do_ends_it(other: ScriptedSink, publisher: Make) -> None:
    other.absent = EdgeProblem("no certificate")
    finished: list[EdgeProblem | None] = []
    publisher(finished=finished.append)
    until(lambda: finished, what="the end")
    assert str(finished[0]) == "no certificate"


def test_an_age_is_counted_to_the_moment_of_sending(other: ScriptedSink, publisher: Make) -> None:
    now = [1000.0]
    timings = StageLatencies()
    out = publisher(clock=lambda: now[0], timings=timings)
    out.put(replace(result(0), captured_monotonic=999.75))
    until(lambda: other.taken, what="the first")
    now[0] += 0.125
    out.put(replace(result(1), captured_monotonic=999.75))
    assert out.close(grace=10)
    assert [json.loads(message.payload)["frame_age_ms"] for message in other.taken] == [250, 375]
    spread = timings.age.percentiles()
    assert spread is not None
    # It is kept in buckets.
    assert (spread.count, spread.p99) == (2, pytest.approx(375, rel=0.05))
