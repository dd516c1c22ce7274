"""Topic filters, and what the device hears from a broker that comes and goes."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from emflow_emulator.access import BrokerUser
from emflow_emulator.broker import Broker
from emflow_emulator.core.logs import DeviceLog
from emflow_emulator.core.mqtt_bridge import Bridge, Publication
from emflow_emulator.core.topics import SubscribeRefused, check, fits
from emflow_emulator.mqtt.packets import Message
from emflow_emulator.mqtt.topic_filters import covers
from emulator.core.pieces import TIMEOUT, lines
from support import until

USER = BrokerUser.new()
Heard = queue.Queue[tuple[str, bytes]]


@pytest.mark.parametrize(
    ("topic_filter", "topic", "fitting"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/+", "a/b", True),
        ("a/+", "a/", True),
        ("a/+", "a", False),
        ("a/+", "a/b/c", False),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("a/#", "ab", False),
        ("#", "a/b", True),
        ("+/b", "a/b", True),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
    ],
)
def test_which_topics_a_filter_stands_for(topic_filter: str, topic: str, fitting: bool) -> None:
    assert fits(topic_filter, topic) is fitting


@pytest.mark.parametrize("topic_filter", ["a#", "a/#/b", "a+/b", "a/b+", "##", "a/##", "a\0b", "a/" * 2000 + "+x"])
def test_what_is_no_filter_is_refused(topic_filter: str) -> None:
    with pytest.raises(SubscribeRefused):
        check(topic_filter)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "greengrass.log"


def bridge_to(port: int, log: Path) -> Bridge:
    bridge = Bridge("127.0.0.1", port, USER, "board", DeviceLog(log))
    bridge.start()
    return bridge


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker(user=USER) as broker:
        yield broker


def test_many_listeners_of_one_filter_hear_each_message_once_until_they_leave(broker: Broker, log: Path) -> None:
    bridge = bridge_to(broker.port, log)
    until(lambda: any("Successfully connected" in line for line in lines(log)))
    heard: list[Heard] = [queue.Queue() for _ in range(2)]
    ends = [bridge.subscribe("cmd/+", 1, lambda *message, to=each: to.put(message)) for each in heard]
    bridge.publish(Publication("cmd/a", b"1", 1, False))
    assert [each.get(timeout=TIMEOUT) for each in heard] == [("cmd/a", b"1")] * 2
    ends[0]()
    bridge.publish(Publication("cmd/b", b"2", 1, False))
    assert heard[1].get(timeout=TIMEOUT) == ("cmd/b", b"2")
    assert heard[0].empty()
    assert heard[1].empty()
    bridge.stop()


FILTERS = ["a/b", "a/+", "+/b", "a/#", "#", "a/b/#", "b/#", "+"]


@pytest.mark.parametrize("wide", FILTERS)
@pytest.mark.parametrize("narrow", FILTERS)
def test_a_filter_covers_another_if_all_topics_of_that_are_its_own(wide: str, narrow: str) -> None:
    topics = ["a", "b", "a/b", "a/x", "x/b", "a/b/c", "b/x/y", "x", "x/y/z", ""]
    own = all(fits(wide, topic) for topic in topics if fits(narrow, topic))
    assert covers(wide, narrow) is own


@pytest.mark.parametrize("order", [("a/#", "a/b"), ("a/b", "a/#"), ("a/+", "+/b"), ("a/b", "a/b")])
@pytest.mark.parametrize("qos", [(0, 1), (1, 0), (1, 1)])
def test_filters_that_both_match_bring_each_message_once_to_each_listener(
    broker: Broker, log: Path, order: tuple[str, str], qos: tuple[int, int]
) -> None:
    broker.publish(Message("a/b", b"kept", 1, retain=True))
    bridge = bridge_to(broker.port, log)
    until(lambda: any("Successfully connected" in line for line in lines(log)))
    heard: list[Heard] = [queue.Queue(), queue.Queue()]
    ends = [
        bridge.subscribe(each, quality, lambda *message, to=to: to.put(message))
        for each, quality, to in zip(order, qos, heard, strict=True)
    ]
    for payload in (b"1", b"2", b"end"):
        bridge.publish(Publication("a/b", payload, 1, False))
    for each in heard:
        got: list[bytes] = []
        while not got or got[-1] != b"end":
            got.append(each.get(timeout=TIMEOUT)[1])
        assert got in ([b"kept", b"1", b"2", b"end"], [b"1", b"2", b"end"])
    assert heard[0].empty()
    assert heard[1].empty()
    ends[0]()
    bridge.publish(Publication("a/b", b"3", 1, False))
    assert heard[1].get(timeout=TIMEOUT) == ("a/b", b"3")
    bridge.stop()


def test_a_subscription_outlives_the_broker(log: Path) -> None:
    with Broker(user=USER) as first:
        port = first.port
        bridge = bridge_to(port, log)
        until(lambda: any("Successfully connected" in line for line in lines(log)))
        heard: Heard = queue.Queue()
        bridge.subscribe("cmd/#", 1, lambda *message: heard.put(message))
    until(lambda: any("Connection interrupted" in line for line in lines(log)))
    later: Heard = queue.Queue()
    bridge.subscribe("late/#", 1, lambda *message: later.put(message))
    with Broker(port=port, user=USER), closing(_Sender(port, log)) as sender:
        until(lambda: sum("Successfully connected" in line for line in lines(log)) == 2)
        until(lambda: sender.reaches("cmd/x", heard) and sender.reaches("late/x", later))
        bridge.stop()


class _Sender:
    """Another device, which sends."""

    def __init__(self, port: int, log: Path) -> None:
        self._bridge = Bridge("127.0.0.1", port, USER, "other", DeviceLog(log.with_name("other.log")))
        self._bridge.start()

    def reaches(self, topic: str, heard: Heard) -> bool:
        self._bridge.publish(Publication(topic, b"x", 1, False))
        return not heard.empty() and heard.get() == (topic, b"x")

    def close(self) -> None:
        self._bridge.stop()
