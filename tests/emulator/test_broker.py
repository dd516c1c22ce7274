"""The embedded broker, used by the SDK that devices use."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from awscrt import mqtt

from emflow.problems import Problem
from emflow_emulator.broker import Broker

TIMEOUT = 10
QOS = [mqtt.QoS.AT_MOST_ONCE, mqtt.QoS.AT_LEAST_ONCE]


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture
def connect(broker: Broker) -> Iterator[Callable[..., mqtt.Connection]]:
    """Connect clients of AWS's SDK, MQTT 3.1.1, without TLS."""
    with contextlib.ExitStack() as stack:

        def connect(**options: Any) -> mqtt.Connection:
            user = {"username": broker.user.name, "password": broker.user.password}
            options = {"client_id": uuid.uuid4().hex, "clean_session": True, **user, **options}
            connection = mqtt.Connection(mqtt.Client(), "127.0.0.1", broker.port, **options)
            connection.connect().result(TIMEOUT)
            stack.callback(lambda: connection.disconnect().result(TIMEOUT))
            return connection

        yield connect


def subscribe(connection: mqtt.Connection, topic: str, qos: mqtt.QoS) -> queue.SimpleQueue[tuple[str, bytes, bool]]:
    messages: queue.SimpleQueue[tuple[str, bytes, bool]] = queue.SimpleQueue()

    def keep(topic: str, payload: bytes, retain: bool, **_: Any) -> None:
        messages.put((topic, payload, retain))

    granted = connection.subscribe(topic, qos, keep)[0].result(TIMEOUT)
    assert granted["qos"] == qos
    return messages


def publish(connection: mqtt.Connection, topic: str, payload: bytes, qos: mqtt.QoS, retain: bool = False) -> None:
    connection.publish(topic, payload, qos, retain)[0].result(TIMEOUT)


@pytest.mark.parametrize("published", QOS)
@pytest.mark.parametrize("subscribed", QOS)
def test_messages_arrive_in_order(connect: Any, published: mqtt.QoS, subscribed: mqtt.QoS) -> None:
    messages = subscribe(connect(), "em/inference", subscribed)
    sender = connect()
    for number in range(50):
        publish(sender, "em/inference", b"%d" % number, published)
    assert [messages.get(timeout=TIMEOUT) for _ in range(50)] == [("em/inference", b"%d" % n, False) for n in range(50)]


def test_wildcards_match_as_mqtt_says(connect: Any) -> None:
    all_below = subscribe(connect(), "em/#", mqtt.QoS.AT_LEAST_ONCE)
    one_level = subscribe(connect(), "em/+/result", mqtt.QoS.AT_LEAST_ONCE)
    sender = connect()
    topics = ["em/a/result", "other/a/result", "em/a/b/result", "em/b/result", "em2"]
    for topic in [*topics, "em/end/result"]:
        publish(sender, topic, b"x", mqtt.QoS.AT_LEAST_ONCE)

    def until_end(messages: Any) -> list[str]:
        return list(iter(lambda: messages.get(timeout=TIMEOUT)[0], "em/end/result"))

    assert until_end(all_below) == ["em/a/result", "em/a/b/result", "em/b/result"]
    assert until_end(one_level) == ["em/a/result", "em/b/result"]


def test_a_retained_message_waits_for_who_comes_later(connect: Any) -> None:
    publish(connect(), "em/state", b"on", mqtt.QoS.AT_LEAST_ONCE, retain=True)
    messages = subscribe(connect(), "em/state", mqtt.QoS.AT_LEAST_ONCE)
    assert messages.get(timeout=TIMEOUT) == ("em/state", b"on", True)


def test_a_message_of_100_kilobytes_arrives_whole(connect: Any) -> None:
    messages = subscribe(connect(), "em/big", mqtt.QoS.AT_LEAST_ONCE)
    payload = bytes(range(256)) * 400
    publish(connect(), "em/big", payload, mqtt.QoS.AT_LEAST_ONCE)
    assert messages.get(timeout=TIMEOUT)[1] == payload


def test_a_client_that_is_lost_leaves_its_will(broker: Broker, connect: Any) -> None:
    messages = subscribe(connect(), "em/gone", mqtt.QoS.AT_LEAST_ONCE)
    with socket.create_connection((broker.host, broker.port)) as client:
        user = broker.user.name.encode(), broker.user.password.encode()
        client.sendall(connect_packet(b"doomed", b"em/gone", b"bye", *user))
        assert client.recv(4) == b"\x20\x02\x00\x00"
    assert messages.get(timeout=TIMEOUT)[:2] == ("em/gone", b"bye")


def connect_packet(client_id: bytes, will_topic: bytes, will: bytes, name: bytes = b"", password: bytes = b"") -> bytes:
    """MQTT 3.1.1, section 3.1: clean session, with a will; with a user and a password where they are given."""
    fields = (client_id, will_topic, will, name, password) if name else (client_id, will_topic, will)
    body = b"\x00\x04MQTT\x04" + (b"\xc6" if name else b"\x06") + b"\x00\x3c"
    body += b"".join(len(field).to_bytes(2, "big") + field for field in fields)
    return b"\x10" + bytes([len(body)]) + body


def says(broker: Broker, packet: bytes) -> bytes:
    """What comes back before the broker hangs up."""
    with socket.create_connection((broker.host, broker.port), TIMEOUT) as client:
        client.sendall(packet)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while data := client.recv(100):
                answer += data
        return answer


@pytest.mark.parametrize(
    ("name", "password"), [("", ""), ("right", ""), ("right", "wrong"), ("wrong", "right"), ("ri", "right")]
)
def test_a_client_without_the_users_password_is_refused(broker: Broker, name: str, password: str) -> None:
    given = [each.replace("right", real) for each, real in ((name, broker.user.name), (password, broker.user.password))]
    user = [each.encode() for each in given]
    assert says(broker, connect_packet(b"somebody", b"t", b"m", *user)) == b"\x20\x02\x00\x04"


def test_a_client_that_is_refused_does_not_take_the_place_of_one_of_the_same_name(broker: Broker, connect: Any) -> None:
    gone = threading.Event()
    device = connect(client_id="board", on_connection_interrupted=lambda **_: gone.set())
    messages = subscribe(device, "em/#", mqtt.QoS.AT_LEAST_ONCE)
    for _ in range(3):
        assert says(broker, connect_packet(b"board", b"em/will", b"of somebody else")) == b"\x20\x02\x00\x04"
    publish(connect(), "em/x", b"x", mqtt.QoS.AT_LEAST_ONCE)
    assert messages.get(timeout=TIMEOUT)[:2] == ("em/x", b"x")
    assert messages.empty()
    assert not gone.is_set()


@pytest.mark.parametrize(
    "packet",
    [
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"\x30\x03\x00\x01a",  # PUBLISH before CONNECT
        b"\x10\xff\xff\xff\xff\x7f",  # a length of five bytes
        b"\x10\xff\xff\xff\x7f",  # 256 MiB
        b"\x10\x02\x00\x04",
        b"\x10\x00",
        b"\x10\x10\x00\x04MQTT\x04\xc2\x00\x3c\xff\xff\xff\xff\xff\xff",
        b"\x10\x10\x00\x04MQTT\x04\xc2\x00\x3c\x00\x01a\x00\x01\xff",
    ],
)
def test_what_is_no_connect_is_hung_up_on(
    broker: Broker, packet: bytes, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection((broker.host, broker.port), TIMEOUT) as client:
        client.sendall(packet)
        client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            assert client.recv(100) in (b"", b"\x20\x02\x00\x04")
    assert connect()
    assert caplog.text == ""


def test_another_version_of_mqtt_is_refused(broker: Broker) -> None:
    user = broker.user.name.encode(), broker.user.password.encode()
    packet = connect_packet(b"somebody", b"t", b"m", *user).replace(b"MQTT\x04", b"MQTT\x05")
    assert says(broker, packet) != b"\x20\x02\x00\x00"


def test_the_password_is_in_no_repr(broker: Broker) -> None:
    assert broker.user.password not in repr(broker.user)


def test_stop_leaves_no_thread_and_frees_the_port(broker: Broker, connect: Any) -> None:
    publish(connect(reconnect_min_timeout_secs=1, reconnect_max_timeout_secs=1), "em/x", b"x", mqtt.QoS.AT_LEAST_ONCE)
    with socket.create_connection((broker.host, broker.port)):  # and one that never says a word
        broker.stop()
    assert "broker" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((broker.host, broker.port))
    broker.stop()  # a second time is nothing
    with Broker(port=broker.port) as again:
        assert again.port == broker.port


def test_a_taken_port_is_reported_with_the_way_out(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Problem, match=f"port {broker.port} is taken") as told:
        Broker(port=broker.port).start()
    assert "--mqtt-port" in told.value.mend
    assert caplog.text == ""


def test_it_opens_to_this_machine_only() -> None:
    with pytest.raises(Problem, match=r"does not listen on 0\.0\.0\.0"):
        Broker(host="0.0.0.0").start()


def test_two_brokers_run_side_by_side(broker: Broker) -> None:
    with Broker() as other:
        assert other.port != broker.port


def test_it_does_not_chatter(connect: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    messages = subscribe(connect(), "em/x", mqtt.QoS.AT_LEAST_ONCE)
    publish(connect(), "em/x", b"x", mqtt.QoS.AT_LEAST_ONCE)
    messages.get(timeout=TIMEOUT)
    assert [record for record in caplog.records if record.name.startswith(("amqtt", "transitions"))] == []
