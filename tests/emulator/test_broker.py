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
from emflow_emulator.broker import MOST_CONNECTIONS, MOST_UNAUTHENTICATED, Broker
from emflow_emulator.mqtt.exchange import MOST_SUBSCRIPTIONS, MOST_WAITING
from emflow_emulator.mqtt.packets import LARGEST_PAYLOAD, Message
from support import until

TIMEOUT = 30
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
def test_messages_arrive_in_order_with_the_lower_quality_of_service(
    connect: Any, published: mqtt.QoS, subscribed: mqtt.QoS
) -> None:
    arrived: queue.SimpleQueue[tuple[bytes, mqtt.QoS, bool]] = queue.SimpleQueue()

    def keep(topic: str, payload: bytes, dup: bool, qos: mqtt.QoS, retain: bool, **_: Any) -> None:
        arrived.put((payload, qos, dup or retain))

    connect().subscribe("em/inference", subscribed, keep)[0].result(TIMEOUT)
    sender = connect()
    for number in range(50):
        publish(sender, "em/inference", b"%d" % number, published)
    lower = min(published, subscribed)
    assert [arrived.get(timeout=TIMEOUT) for _ in range(50)] == [(b"%d" % n, lower, False) for n in range(50)]


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


def test_a_message_as_large_as_aws_allows_arrives_whole(connect: Any) -> None:
    messages = subscribe(connect(), "em/big", mqtt.QoS.AT_LEAST_ONCE)
    payload = bytes(range(256)) * (LARGEST_PAYLOAD // 256)
    publish(connect(), "em/big", payload, mqtt.QoS.AT_LEAST_ONCE)
    assert messages.get(timeout=TIMEOUT)[1] == payload


def test_a_client_that_is_lost_leaves_its_will(broker: Broker, connect: Any) -> None:
    messages = subscribe(connect(), "em/gone", mqtt.QoS.AT_LEAST_ONCE)
    with socket.create_connection((broker.host, broker.port)) as client:
        user = broker.user.name.encode(), broker.user.password.encode()
        client.sendall(connect_packet(b"doomed", b"em/gone", b"bye", *user))
        assert client.recv(4) == b"\x20\x02\x00\x00"
    assert messages.get(timeout=TIMEOUT)[:2] == ("em/gone", b"bye")


def connect_packet(
    client_id: bytes, will_topic: bytes, will: bytes, name: bytes = b"", password: bytes = b"", *, clean: bool = True
) -> bytes:
    """MQTT 3.1.1, section 3.1: with a will; with a user and a password where they are given."""
    fields = (client_id, will_topic, will, name, password) if name else (client_id, will_topic, will)
    body = b"\x00\x04MQTT\x04" + bytes([(0xC4 if name else 0x04) | clean << 1]) + b"\x00\x3c"
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


class Raw:
    """A client that sends and reads bytes, for what an SDK does not do: it does not acknowledge, or not read."""

    def __init__(self, broker: Broker, client_id: bytes, *, clean: bool = True) -> None:
        self.socket = socket.create_connection((broker.host, broker.port), TIMEOUT)
        user = broker.user.name.encode(), broker.user.password.encode()
        self.socket.sendall(connect_packet(client_id, b"em/will", b"bye", *user, clean=clean))
        self.session_present = self.read() == b"\x20\x02\x01\x00"

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def read(self) -> bytes:
        """The next packet; empty after the end of the connection."""
        head = self._exactly(1)
        if not head:
            return b""
        length = shift = 0
        while True:
            byte = self._exactly(1)
            head += byte
            length |= (byte[0] & 0x7F) << shift
            shift += 7
            if byte[0] < 0x80:
                return head + self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                piece = self.socket.recv(size - len(data))
            except ConnectionError:
                return b""
            if not piece:
                return b""
            data += piece
        return data

    def subscribe(self, *filters: bytes, qos: int = 1) -> bytes:
        """The return codes."""
        body = b"\x00\x01" + b"".join(len(each).to_bytes(2, "big") + each + bytes([qos]) for each in filters)
        self.socket.sendall(packet(0x82, body))
        return self.read()[4:]


def packet(first: int, body: bytes) -> bytes:
    length, head = len(body), bytearray([first])
    while True:
        length, low = divmod(length, 128)
        head.append(low | (0x80 if length else 0))
        if not length:
            return bytes(head) + body


def published(topic: bytes, payload: bytes, first: int = 0x30) -> bytes:
    identity = b"\x00\x07" if first & 6 else b""
    return packet(first, len(topic).to_bytes(2, "big") + topic + identity + payload)


def test_a_session_that_persists_gets_what_was_published_while_it_was_away(broker: Broker, connect: Any) -> None:
    with Raw(broker, b"board", clean=False) as board:
        assert not board.session_present
        assert board.subscribe(b"em/#", qos=1) == b"\x01"
        board.socket.sendall(b"\xe0\x00")
        assert board.read() == b""
    sender = connect()
    for number in range(30):
        publish(sender, "em/x", b"%d" % number, mqtt.QoS.AT_LEAST_ONCE)
    publish(sender, "em/x", b"once at most", mqtt.QoS.AT_MOST_ONCE)
    with Raw(broker, b"board", clean=False) as board:
        assert board.session_present
        first = [board.read() for _ in range(30)]
    assert [each[10:] for each in first] == [b"%d" % number for number in range(30)]
    assert {each[0] for each in first} == {0x32}  # QoS 1, neither sent again nor retained
    with Raw(broker, b"board", clean=False) as board:  # which acknowledged nothing
        again = [board.read() for _ in range(30)]
        assert [each[1:] for each in again] == [each[1:] for each in first]
        assert {each[0] for each in again} == {0x3A}  # sent again
        board.socket.sendall(b"".join(b"\x40\x02" + each[8:10] for each in again) + b"\xc0\x00")
        assert board.read() == b"\xd0\x00"
    with Raw(broker, b"board", clean=False) as board:
        board.socket.sendall(b"\xc0\x00")
        assert board.read() == b"\xd0\x00"  # the answer to a ping: nothing is left
    with Raw(broker, b"board"):
        pass
    with Raw(broker, b"board", clean=False) as board:
        assert not board.session_present


@pytest.mark.parametrize(
    "filters", [(b"em/#", b"em/+"), (b"em/state", b"em/#"), (b"em/state", b"em/state"), (b"+/state", b"em/+")]
)
def test_two_filters_of_a_client_that_match_bring_each_message_once(
    broker: Broker, connect: Any, filters: tuple[bytes, bytes]
) -> None:
    """Also a retained message, when both are subscribed with one packet."""
    sender = connect()
    publish(sender, "em/state", b"kept", mqtt.QoS.AT_LEAST_ONCE, retain=True)
    with Raw(broker, b"board") as board:
        assert board.subscribe(*filters) == b"\1\1"
        for payload in (b"live", b"end"):
            publish(sender, "em/state", payload, mqtt.QoS.AT_LEAST_ONCE)
        got = [board.read() for _ in range(3)]
    assert [(each[0], each[14:]) for each in got] == [(0x33, b"kept"), (0x32, b"live"), (0x32, b"end")]


def test_retained_messages_come_only_with_a_subscription_to_them(broker: Broker, connect: Any) -> None:
    sender = connect()
    publish(sender, "em/state", b"on", mqtt.QoS.AT_LEAST_ONCE, retain=True)
    publish(sender, "other/state", b"on", mqtt.QoS.AT_LEAST_ONCE, retain=True)
    watching = subscribe(connect(), "other/#", mqtt.QoS.AT_LEAST_ONCE)
    assert watching.get(timeout=TIMEOUT) == ("other/state", b"on", True)
    with Raw(broker, b"board", clean=False) as board:
        board.subscribe(b"em/#", qos=0)
        assert board.read() == published(b"em/state", b"on", 0x31)
    for _ in range(2):  # the session goes on, with nothing for it; and then one without subscriptions
        with Raw(broker, b"board", clean=False) as board:
            board.socket.sendall(b"\xc0\x00")
            assert board.read() == b"\xd0\x00"
    publish(sender, "em/state", b"", mqtt.QoS.AT_LEAST_ONCE, retain=True)
    assert broker.retained.get("em/state") is None
    kept = broker.retained.get("other/state")
    assert kept
    assert kept.message.payload == b"on"


@pytest.mark.parametrize(
    "sent",
    [
        b"\x30\xff\xff\xff\x7f" + bytes(1000),  # 256 MiB are announced
        published(b"em/x", bytes(LARGEST_PAYLOAD + 1)),
        published(b"em/x", bytes(LARGEST_PAYLOAD + 1), 0x32),
        published(b"em/x", b"x", 0x34),  # QoS 2
        published(b"em/" + b"x" * 256, b"x"),
        published(b"1/2/3/4/5/6/7/8/9", b"x"),
        published(b"em/#", b"x"),
        published(b"", b"x"),
        published(b"$aws/x", b"x"),
        published(b"\xff", b"x"),
        packet(0x82, b"\x00\x01"),
        packet(0x80, b"\x00\x01\x00\x01a\x00"),
        packet(0x50, b"\x00\x01"),
        packet(0xF0, b""),
        packet(0x20, b"\x00\x00"),
        connect_packet(b"board", b"t", b"m"),
    ],
    ids=repr,
)
def test_what_aws_would_not_take_ends_the_connection_and_leaves_a_will(
    broker: Broker, connect: Any, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    messages = subscribe(connect(), "em/#", mqtt.QoS.AT_LEAST_ONCE)
    with Raw(broker, b"board") as board:
        board.socket.sendall(sent)
        assert board.read() == b""
    assert messages.get(timeout=TIMEOUT)[:2] == ("em/will", b"bye")
    assert "MQTT client 'board' is disconnected: " in caplog.text


def test_the_same_client_that_connects_again_takes_the_place_of_the_first(broker: Broker, connect: Any) -> None:
    messages = subscribe(connect(), "em/will", mqtt.QoS.AT_LEAST_ONCE)
    with Raw(broker, b"board") as first, Raw(broker, b"board") as second:
        assert first.read() == b""
        assert messages.get(timeout=TIMEOUT)[1] == b"bye"
        second.socket.sendall(b"\xc0\x00")
        assert second.read() == b"\xd0\x00"


def test_a_client_that_is_silent_for_too_long_is_disconnected(broker: Broker) -> None:
    user = broker.user.name.encode(), broker.user.password.encode()
    said = bytearray(connect_packet(b"board", b"em/will", b"bye", *user))
    said[10:12] = b"\x00\x01"  # one second
    with socket.create_connection((broker.host, broker.port), TIMEOUT) as client:
        client.sendall(said)
        assert client.recv(4) == b"\x20\x02\x00\x00"
        assert client.recv(1) == b""


def test_many_silent_connections_do_not_block_a_client(broker: Broker, connect: Any) -> None:
    with contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection((broker.host, broker.port), TIMEOUT))
            for _ in range(MOST_UNAUTHENTICATED + 20)
        ]
        for each in silent[:20]:
            with contextlib.suppress(ConnectionError):
                assert each.recv(1) == b""
        messages = subscribe(connect(), "em/x", mqtt.QoS.AT_LEAST_ONCE)
        publish(connect(), "em/x", b"x", mqtt.QoS.AT_LEAST_ONCE)
        assert messages.get(timeout=TIMEOUT)[1] == b"x"


def test_connections_are_limited_and_become_free_again(broker: Broker, connect: Any) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Raw(broker, b"%d" % number)) for number in range(MOST_CONNECTIONS)]
        one_more = stack.enter_context(socket.create_connection((broker.host, broker.port), TIMEOUT))
        with contextlib.suppress(ConnectionError):
            assert one_more.recv(1) == b""
        clients[0].socket.sendall(b"\xe0\x00")
        assert clients[0].read() == b""
        assert connect()


def test_a_subscriber_that_does_not_read_gets_so_much_and_no_more(
    broker: Broker, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    payload = bytes(20 * 1024)
    with Raw(broker, b"slow") as slow, Raw(broker, b"sender") as sender:
        slow.subscribe(b"em/#", qos=1)
        for number in range(2 * MOST_WAITING):
            sender.socket.sendall(published(b"em/x", payload, 0x32))
            assert sender.read() == b"\x40\x02\x00\x07", number
        assert "'slow' does not take its messages; new ones are dropped" in caplog.text
        assert len([record for record in caplog.records if "slow" in record.message]) == 1


def test_a_client_has_so_many_subscriptions_and_no_more(broker: Broker) -> None:
    with Raw(broker, b"board") as board:
        names = [b"em/%d" % number for number in range(MOST_SUBSCRIPTIONS)]
        assert board.subscribe(*names) == b"\x01" * MOST_SUBSCRIPTIONS
        assert board.subscribe(b"em/more", names[0], b"em/#/x", b"em/a+") == b"\x80\x01\x80\x80"


def test_a_message_goes_once_to_a_client_whose_subscriptions_overlap(broker: Broker, connect: Any) -> None:
    with Raw(broker, b"board") as board:
        board.subscribe(b"em/#", b"em/+", b"em/x", qos=0)
        publish(connect(), "em/x", b"x", mqtt.QoS.AT_LEAST_ONCE)
        board.socket.sendall(b"\xc0\x00")
        read = [board.read(), board.read()]
    assert sorted(read) == [published(b"em/x", b"x"), b"\xd0\x00"]


def test_what_the_cloud_publishes_reaches_the_subscribers(broker: Broker, connect: Any) -> None:
    messages = subscribe(connect(), "em/x", mqtt.QoS.AT_LEAST_ONCE)
    broker.publish(Message("em/x", b"from the cloud", 1, retain=True))
    assert messages.get(timeout=TIMEOUT) == ("em/x", b"from the cloud", False)
    until(lambda: broker.retained.get("em/x"))
