"""Watching results on the embedded broker, published with the SDK that devices use."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from awscrt import mqtt

from emflow.problems import Problem
from emflow.results.message import NotAResult, Result
from emflow.results.subscriber import ResultSubscriber
from emflow_emulator.broker import Broker
from support import until

TIMEOUT = 30.0


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


def user_of(broker: Broker) -> dict[str, str]:
    return {"username": broker.user.name, "password": broker.user.password}


def watching(broker: Broker, *topics: str) -> ResultSubscriber:
    return ResultSubscriber(broker.host, broker.port, *topics, **user_of(broker))


def publish(broker: Broker, *payloads: bytes, topic: str = "em/inference") -> None:
    connection = mqtt.Connection(
        mqtt.Client(), broker.host, broker.port, "device", clean_session=True, **user_of(broker)
    )
    connection.connect().result(TIMEOUT)
    for payload in payloads:
        connection.publish(topic, payload, mqtt.QoS.AT_LEAST_ONCE)[0].result(TIMEOUT)
    connection.disconnect().result(TIMEOUT)


def result(index: int) -> bytes:
    return json.dumps(
        {"index": str(index), "confidence": "0.5000", "performance": "4.10", "model_name": "scenes"}
    ).encode()


def test_results_come_in_order(broker: Broker) -> None:
    with watching(broker, "em/inference") as watcher:
        publish(broker, *(result(index) for index in range(5)))
        for index in range(5):
            assert watcher.next(TIMEOUT) == Result(index, 0.5, 4.1, "scenes")


def test_what_is_no_result_is_reported_and_the_next_one_comes(broker: Broker) -> None:
    with watching(broker, "em/#") as watcher:
        publish(broker, b"hello", result(3), topic="em/other")
        message = watcher.next(TIMEOUT)
        assert message == NotAResult(b"hello", "it is not JSON")
        assert watcher.next(TIMEOUT) == Result(3, 0.5, 4.1, "scenes")


def test_results_come_from_all_topics_that_are_watched(broker: Broker) -> None:
    with watching(broker, "em/board/front", "em/board/side") as watcher:
        for index, topic in enumerate(("em/board/side", "em/board/other", "em/board/front")):
            publish(broker, result(index), topic=topic)
        assert [watcher.next(TIMEOUT), watcher.next(TIMEOUT)] == [
            Result(0, 0.5, 4.1, "scenes"),
            Result(2, 0.5, 4.1, "scenes"),
        ]


def test_nothing_in_time_is_a_timeout(broker: Broker) -> None:
    with watching(broker, "em/inference") as watcher, pytest.raises(TimeoutError):
        watcher.next(0.05)


def test_iterating_waits_and_ends_when_the_watcher_is_closed(broker: Broker) -> None:
    with watching(broker, "em/inference") as watcher:
        seen: list[Any] = []
        reader = threading.Thread(target=lambda: seen.extend(watcher))
        reader.start()
        publish(broker, result(1))
        until(lambda: seen, TIMEOUT)
    reader.join(TIMEOUT)
    assert not reader.is_alive()
    assert seen == [Result(1, 0.5, 4.1, "scenes")]
    assert list(watcher) == []
    watcher.close()


def test_a_broker_that_went_away_and_came_back_is_watched_again(broker: Broker) -> None:
    with watching(broker, "em/inference") as watcher:
        publish(broker, result(1))
        assert watcher.next(TIMEOUT) == Result(1, 0.5, 4.1, "scenes")
        broker.stop()
        with Broker(port=broker.port, user=broker.user) as again:
            deadline = time.monotonic() + 2 * TIMEOUT
            while time.monotonic() < deadline:
                publish(again, result(2))
                try:
                    assert watcher.next(0.2) == Result(2, 0.5, 4.1, "scenes")
                    return
                except TimeoutError:
                    continue
    pytest.fail("it did not come back")


def test_a_missing_broker_is_reported_with_advice() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Problem, match="no MQTT broker answers") as caught:
        ResultSubscriber("127.0.0.1", port, "em/inference")
    assert caught.value.where == f"mqtt://127.0.0.1:{port}"
    assert caught.value.mend


def test_a_broker_that_refuses_the_user_is_reported_with_the_way_out(broker: Broker) -> None:
    for user in ({}, {"username": broker.user.name, "password": "wrong"}):
        with pytest.raises(Problem) as told:
            ResultSubscriber(broker.host, broker.port, "em/inference", **user)
        assert "password" in told.value.mend
        assert "wrong" not in str(told.value)


def test_a_topic_that_the_broker_refuses_is_reported(broker: Broker) -> None:
    with pytest.raises(Problem, match="refuses the topic"):
        watching(broker, "em/#/inference")


def test_closing_does_not_wait_for_a_broker_that_has_gone(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    with watching(broker, "em/inference"):
        broker.stop()
        monkeypatch.setattr("emflow.results.subscriber._TIMEOUT", 60.0)
        began = time.monotonic()
    assert time.monotonic() - began < 30
