"""Messages that a broker will never take: they are not sent for ever, and hold up nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from edge.results.scripted_sink import Make, ScriptedSink, counted, detected, large, result
from edge.results.strict_broker import Refuses, StrictBroker
from emflow_edge.metrics.counters import Counters
from emflow_edge.metrics.latencies import StageLatencies
from emflow_edge.outcome import Box, Detection
from emflow_edge.results.mqtt import Mqtt311Sink
from emflow_edge.results.publisher import Publisher
from emflow_edge.results.sinks import Destination, MessageRefused
from emflow_edge.results.suspects import Suspects
from emflow_schema.edge_config import Publish
from emflow_schema.result_message import BYTES_A_DETECTION, BYTES_A_RESULT, MOST_BYTES
from support import until

Start = Callable[..., tuple[Publisher, StrictBroker]]


@pytest.fixture
def start(counters: Counters) -> Iterator[Start]:
    started: list[tuple[Publisher, StrictBroker]] = []

    def make(refuses: Refuses, to: Publish | None = None, **options: Any) -> tuple[Publisher, StrictBroker]:
        broker = StrictBroker(refuses)
        sink = Mqtt311Sink(Destination("mqtt", "127.0.0.1", broker.port), "thing")
        out = Publisher(sink, to or Publish(), counters, StageLatencies(), lambda _: None, **options)
        out.start()
        started.append((out, broker))
        return out, broker

    yield make
    for out, broker in started:
        out.close(2)
        broker.stop()


def sequences(broker: StrictBroker, topic: str = "em/inference") -> list[int]:
    return [json.loads(payload)["sequence"] for to, payload in broker.taken if to == topic]


def test_what_is_larger_than_aws_iot_takes_is_not_sent_and_said_once(
    start: Start, counters: Counters, caplog: pytest.LogCaptureFixture
) -> None:
    out, broker = start(lambda _, payload: len(payload) > MOST_BYTES)
    for number in range(0, 40, 2):
        out.put(result(number))
        out.put(large(2000, number + 1, stream="bright"))
    assert out.close(10)
    assert sequences(broker) == list(range(0, 40, 2))
    assert counted(counters) == (20, 20, 0)
    assert (broker.connections, broker.broken) == (1, 0)
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    size = len(large(2000).message(0).encode())
    assert f"a message of {size // 1000}" in said
    for words in ("em/inference", "takes 131072 at most", "(stream bright)", "modelIO.boxes.most", "modelIO.threshold"):
        assert words in said


def test_a_message_with_which_the_connection_broke_twice_is_set_aside(start: Start, counters: Counters) -> None:
    out, broker = start(lambda _, payload: b'"sequence": 7,' in payload)
    for number in range(20):
        out.put(result(number))
    until(lambda: sum(counted(counters)) == 20, what="all results")
    assert counted(counters) == (19, 1, 0)
    assert sorted(set(sequences(broker))) == [number for number in range(20) if number != 7]
    assert broker.broken == 2


def test_a_size_that_a_broker_does_not_take_breaks_few_connections(start: Start, counters: Counters) -> None:
    out, broker = start(lambda _, payload: len(payload) > 5000)
    for number in range(0, 60, 2):
        out.put(result(number))
        out.put(large(100, number + 1))
    until(lambda: sum(counted(counters)) == 60, what="all results")
    assert counted(counters) == (30, 30, 0)
    assert sorted(set(sequences(broker))) == list(range(0, 60, 2))
    # Two for each of two messages, and two more where the first broke it before a small one was delivered.
    assert broker.broken <= 6


@pytest.mark.parametrize("qos", [0, 1])
def test_a_topic_that_is_not_allowed_breaks_few_connections(start: Start, counters: Counters, qos: int) -> None:
    out, broker = start(lambda topic, _: topic == "em/side", Publish("em/{stream}", qos=qos))  # type: ignore[arg-type]
    for number in range(30):
        out.put(result(number))
        out.put(result(number, stream="side"))
        if not qos:
            # What is not acknowledged is lost with its connection.
            until(lambda: sum(counted(counters)) == 2 * number + 2, what="the results so far")  # noqa: B023
    until(lambda: sum(counted(counters)) == 60, what="all results")
    if qos:
        assert counted(counters) == (30, 30, 0)
        assert sorted(set(sequences(broker, "em/front"))) == list(range(30))
    assert broker.broken <= 6


def test_a_status_that_is_not_allowed_holds_up_no_result(
    start: Start, counters: Counters, caplog: pytest.LogCaptureFixture
) -> None:
    out, broker = start(lambda topic, _: topic == "em/status", Publish(status_topic="em/status"))
    for number in range(10):
        out.announce("em/status", json.dumps({"number": number}), retain=True)
        out.put(result(number))
    until(lambda: counted(counters)[0] == 10, what="the results")
    assert broker.broken <= 4
    said = [record.getMessage() for record in caplog.records]
    assert len([one for one in said if one.startswith("status or metrics cannot be published: em/status")]) == 1


def test_what_is_refused_again_and_again_is_set_aside_where_others_are_taken(
    other: ScriptedSink, publisher: Make, counters: Counters
) -> None:
    other.refuses["em/side"] = MessageRefused("quota exceeded")
    out = publisher(Publish("em/{stream}"))
    for number in range(5):
        out.put(result(number, stream="side"))

    def all_set_aside() -> bool:
        out.put(result(0))
        return counted(counters)[1] == 5

    until(all_set_aside, what="the refused ones to be set aside")
    assert out.close(5)
    assert {message.topic for message in other.taken} == {"em/front"}


def test_what_everybody_is_refused_is_kept(other: ScriptedSink, publisher: Make, counters: Counters) -> None:
    other.refuses["em/inference"] = MessageRefused("busy")
    out = publisher()
    for number in range(3):
        out.put(result(number))
    until(lambda: other.opened >= 4, what="some tries")
    other.refuses.clear()
    until(lambda: counted(counters) == (3, 0, 0), what="all results")
    assert out.close(5)


def test_a_topic_is_tried_again_after_longer_and_longer_times() -> None:
    now = [0.0]
    suspects, waits = Suspects(lambda: now[0]), []
    for number in range(12):
        while suspects.blocks("em/side", 100):
            now[0] += 1
        waits.append(now[0])
        assert not suspects.broke_with(number, "em/side", 100)
        assert suspects.broke_with(number, "em/side", 100)
        suspects.delivered("other", "em/front", 100)
    assert [after - before for before, after in zip(waits, waits[1:])] == [0, 10, 20, 40, 80, 160, 320, *[600] * 4]
    assert not suspects.blocks("em/front", 100)
    suspects.delivered("probe", "em/side", 100)
    assert not suspects.blocks("em/side", 100)


def test_only_a_delivery_of_that_size_shows_that_a_size_is_taken() -> None:
    suspects = Suspects(lambda: 0.0)
    suspects.delivered("small", "em/inference", 500)
    for number in range(2):
        suspects.broke_with(number, "em/inference", 9000 + number)
        suspects.broke_with(number, "em/inference", 9000 + number)
        suspects.delivered("small", "em/inference", 600)
    assert [suspects.blocks("em/inference", size) for size in (600, 4000, 8999, 10000)] == [False, False, True, True]
    suspects.delivered("large", "em/inference", 9500)
    assert not suspects.blocks("em/inference", 10000)


def test_a_result_of_a_detector_has_about_the_size_that_validate_reckons_with() -> None:
    thing = Detection(1000, "Egyptian cat", 0.9876, Box(0.1234, 0.1234, 0.1234, 0.1234))
    one = detected()
    empty, hundred = (replace(one, outcome=replace(one.outcome, detections=(thing,) * count)) for count in (0, 100))
    size = len(hundred.message(0)) - len(empty.message(0))
    assert size == pytest.approx(100 * BYTES_A_DETECTION, rel=0.25)
    assert len(empty.message(0)) <= BYTES_A_RESULT
