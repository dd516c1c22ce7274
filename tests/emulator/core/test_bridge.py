"""The bridge to the broker, with the embedded broker itself: there, away, and back."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from awscrt import mqtt

from emflow_emulator.access import BrokerUser
from emflow_emulator.broker import Broker
from emflow_emulator.core.logs import DeviceLog
from emflow_emulator.core.mqtt_bridge import Bridge, Publication, PublishRefused, check
from emulator.core.pieces import Listener, lines
from support import until

USER = BrokerUser.new()


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "greengrass.log"


def bridge_to(port: int, user: BrokerUser, log: Path) -> Bridge:
    bridge = Bridge("127.0.0.1", port, user, "board", DeviceLog(log))
    bridge.start()
    return bridge


def connected(log: Path, times: int = 1) -> bool:
    return sum("Successfully connected" in line for line in lines(log)) >= times


def test_messages_arrive_in_order(broker: Broker, log: Path) -> None:
    with closing(Listener(broker)) as listener:
        bridge = bridge_to(broker.port, broker.user, log)
        until(lambda: connected(log))
        for number in range(20):
            bridge.publish(Publication("em/inference", b"%d" % number, number % 2, False))
        heard = [listener.next() for _ in range(20)]
        bridge.stop()

    assert [(topic, payload) for topic, payload, _ in heard] == [
        ("em/inference", b"%d" % number) for number in range(20)
    ]


class Wiretap(socketserver.ThreadingTCPServer):
    """Stands between the bridge and the broker and keeps what the bridge sends."""

    daemon_threads = True

    def __init__(self, broker: Broker) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.sent = b""
        self._broker = broker.port

    def finish_request(self, request: Any, client_address: Any) -> None:
        with socket.create_connection(("127.0.0.1", self._broker)) as onward:
            back = threading.Thread(target=self._copy, args=(onward, request, False))
            back.start()
            self._copy(request, onward, True)
            onward.shutdown(socket.SHUT_WR)
            back.join()

    def _copy(self, source: socket.socket, target: socket.socket, keep: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.sent += data if keep else b""
                target.sendall(data)


@pytest.mark.parametrize(("qos", "retain", "first"), [(0, False, 0x30), (1, False, 0x32), (1, True, 0x33)])
def test_qos_and_retain_are_on_the_wire_as_asked(broker: Broker, log: Path, qos: int, retain: bool, first: int) -> None:
    with Wiretap(broker) as wiretap:
        threading.Thread(target=wiretap.serve_forever, args=(0.05,)).start()
        bridge = bridge_to(wiretap.server_address[1], broker.user, log)
        until(lambda: connected(log))
        bridge.publish(Publication("the/topic", b"x", qos, retain))
        bridge.stop()
        wiretap.shutdown()

    # Fixed header, remaining length, length of the topic, topic: MQTT 3.1.1, 3.3.
    assert wiretap.sent[wiretap.sent.index(b"the/topic") - 4] == first


def test_what_is_spooled_is_sent_before_the_end(broker: Broker, log: Path) -> None:
    with closing(Listener(broker)) as listener:
        bridge = bridge_to(broker.port, broker.user, log)
        until(lambda: connected(log))
        for number in range(50):
            bridge.publish(Publication("a", b"%d" % number, 1, False))
        bridge.stop()
        assert [listener.next()[1] for _ in range(50)] == [b"%d" % number for number in range(50)]


def test_a_broker_that_comes_later_gets_what_waited(log: Path) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    bridge = bridge_to(port, USER, log)
    bridge.publish(Publication("a", b"early", 1, True))
    until(lambda: any("Unable to connect" in line for line in lines(log)))
    with pytest.raises(PublishRefused, match="offline"):
        bridge.publish(Publication("a", b"nobody waits for this", 0, False))

    with Broker(port=port, user=USER) as broker:
        with closing(Listener(broker)) as listener:
            # Retained, so it is heard whether the bridge or the listener is there first.
            assert listener.next() == ("a", b"early", mqtt.QoS.AT_LEAST_ONCE)
        bridge.stop()


def test_a_broker_that_goes_and_comes_back(log: Path) -> None:
    with Broker(user=USER) as broker:
        port = broker.port
        bridge = bridge_to(port, USER, log)
        until(lambda: connected(log))
    until(lambda: any("Connection interrupted" in line for line in lines(log)))
    bridge.publish(Publication("a", b"in between", 1, True))
    with Broker(port=port, user=USER) as broker:
        with closing(Listener(broker)) as listener:
            assert listener.next()[1] == b"in between"
        bridge.stop()
    assert connected(log, times=2)


def test_the_spool_has_an_end(log: Path) -> None:
    bridge = bridge_to(1, USER, log)
    large = Publication("a", bytes(128 * 1024), 1, False)
    for _ in range(20):
        bridge.publish(large)
    with pytest.raises(PublishRefused, match="spool is full"):
        bridge.publish(large)
    bridge.stop()


@pytest.mark.parametrize(
    ("publication", "reason"),
    [
        (Publication("a/+", b"", 1, False), "wildcard"),
        (Publication("a/#", b"", 1, False), "wildcard"),
        (Publication("a" * 257, b"", 1, False), "256 bytes"),
        (Publication("1/2/3/4/5/6/7/8/9", b"", 1, False), "7 slashes"),
        *((Publication(f"a{odd}", b"", 1, False), "UTF-8") for odd in "\0\x1f\x7f\x9f\ud800\ufdd0\uffff\U0001fffe"),
        (Publication("", b"", 1, False), "no topic"),
        (Publication("a", bytes(128 * 1024 + 1), 1, False), "131073 bytes"),
    ],
)
def test_what_aws_iot_would_not_take_is_refused(publication: Publication, reason: str) -> None:
    with pytest.raises(PublishRefused, match=reason):
        check(publication)


@pytest.mark.parametrize("topic", ["em/ünïcode", "em/日本", "em/😀", "with spaces"])
def test_what_is_allowed_arrives(broker: Broker, log: Path, topic: str) -> None:
    with closing(Listener(broker)) as listener:
        bridge = bridge_to(broker.port, broker.user, log)
        until(lambda: connected(log))
        bridge.publish(Publication(topic, b"x", 1, False))
        assert listener.next()[0] == topic
        bridge.stop()
