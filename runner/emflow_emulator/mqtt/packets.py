"""Packets of MQTT 3.1.1, read from bytes and written to bytes; no packet is larger than AWS IoT Core takes.

Specification: https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html. Limits:
https://docs.aws.amazon.com/general/latest/gr/iot-core.html#message-broker-limits.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import IntEnum

LARGEST_PAYLOAD = 128 * 1024
"""Bytes of a message; AWS IoT Core ends the connection of a client that sends more."""
LONGEST_TOPIC = 256
MOST_SLASHES = 7

_LARGEST_BODY = LARGEST_PAYLOAD + LONGEST_TOPIC + 4
"""Bytes of a packet after its fixed header: a payload, a topic with its length, and the packet's id."""


class Kind(IntEnum):
    """The types of control packets that a client or the broker sends, section 2.2.1."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


_FLAGS = {Kind.SUBSCRIBE: 2, Kind.UNSUBSCRIBE: 2}
"""The flags that a packet has to have, where they are not 0; those of PUBLISH vary."""


class BadPacket(ValueError):
    """The client broke the protocol or a limit; its connection has to end. The text says what."""


@dataclass(frozen=True)
class Message:
    """An application message. `topic` has no wildcards."""

    topic: str
    payload: bytes
    qos: int
    retain: bool = False

    @property
    def size(self) -> int:
        return len(self.topic) + len(self.payload)


@dataclass(frozen=True)
class Connect:
    """A CONNECT packet. `will`: what is published when the connection is lost."""

    level: int
    client_id: str
    clean: bool
    keep_alive: int
    will: Message | None
    user: str
    password: bytes = field(repr=False)


@dataclass(frozen=True)
class Publish:
    """A PUBLISH packet of a client. `id` is 0 with QoS 0."""

    message: Message
    id: int


@dataclass(frozen=True)
class Subscribe:
    """A SUBSCRIBE packet: topic filters, each with the requested QoS."""

    id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Unsubscribe:
    id: int
    filters: tuple[str, ...]


async def read_packet(stream: asyncio.StreamReader) -> tuple[Kind, int, bytes]:
    """The next packet: its kind, its flags and its body.

    Raises:
        BadPacket: it is not one that a client may send, or it is too large. Its body is not read then.
        EOFError: the client disconnected.
    """
    first = (await stream.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await stream.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
        if shift > 21:
            raise BadPacket("the packet's length is not valid")
    try:
        kind = Kind(first >> 4)
    except ValueError:
        raise BadPacket(f"packet type {first >> 4} is not one of MQTT 3.1.1 without QoS 2") from None
    flags = first & 0x0F
    if kind != Kind.PUBLISH and flags != _FLAGS.get(kind, 0):
        raise BadPacket(f"{kind.name} has the flags {flags}")
    if length > _LARGEST_BODY:
        raise BadPacket(f"{kind.name} has {length} bytes; a message may have {LARGEST_PAYLOAD}")
    return kind, flags, await stream.readexactly(length)


class _Fields:
    """Reads the fields of a packet's body one after the other. Raises BadPacket where it is shorter than they are."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    @property
    def more(self) -> bool:
        return bool(self._body)

    def take(self, size: int) -> bytes:
        if len(self._body) < size:
            raise BadPacket("the packet ends within a field")
        data, self._body = self._body[:size], self._body[size:]
        return data

    def number(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def data(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        try:
            text = self.data().decode()
        except UnicodeDecodeError as error:
            raise BadPacket("a text is not UTF-8") from error
        if "\0" in text:
            raise BadPacket("a text has the character U+0000")
        return text

    def rest(self) -> bytes:
        return self.take(len(self._body))


def parse_connect(body: bytes) -> Connect:
    """Raises BadPacket."""
    fields = _Fields(body)
    if fields.text() != "MQTT":
        raise BadPacket("the protocol is not MQTT")
    level, flags = fields.take(2)
    if level != 4:
        return Connect(level, "", clean=True, keep_alive=0, will=None, user="", password=b"")
    has_user, has_password, will_retain, will_qos = flags & 0x80, flags & 0x40, flags & 0x20, flags >> 3 & 3
    if flags & 1 or will_qos == 3 or (not flags & 4 and flags & 0x38) or (has_password and not has_user):
        raise BadPacket(f"CONNECT has the flags {flags:#x}")
    keep_alive, client_id = fields.number(), fields.text()
    will = None
    if flags & 4:
        topic, payload = fields.text(), fields.data()
        will = checked(Message(topic, payload, min(will_qos, 1), bool(will_retain)))
    user = fields.text() if has_user else ""
    password = fields.data() if has_password else b""
    return Connect(level, client_id, bool(flags & 2), keep_alive, will, user, password)


def parse_publish(flags: int, body: bytes) -> Publish:
    """Raises BadPacket, also for QoS 2, which AWS IoT Core does not have."""
    fields = _Fields(body)
    topic, qos = fields.text(), flags >> 1 & 3
    if qos > 1:
        raise BadPacket(f"{topic!r} is published with QoS {qos}; AWS IoT Core has 0 and 1")
    identity = fields.number() if qos else 0
    if qos and not identity:
        raise BadPacket("PUBLISH has the packet id 0")
    return Publish(checked(Message(topic, fields.rest(), qos, bool(flags & 1))), identity)


def parse_subscribe(body: bytes) -> Subscribe:
    """Raises BadPacket."""
    fields = _Fields(body)
    identity, filters = fields.number(), []
    while fields.more:
        topic_filter, qos = fields.text(), fields.take(1)[0]
        if qos > 2:
            raise BadPacket(f"{topic_filter!r} is subscribed with QoS {qos}")
        filters.append((topic_filter, qos))
    if not filters or not identity:
        raise BadPacket("SUBSCRIBE has no topic filter, or no packet id")
    return Subscribe(identity, tuple(filters))


def parse_unsubscribe(body: bytes) -> Unsubscribe:
    """Raises BadPacket."""
    fields = _Fields(body)
    identity, filters = fields.number(), []
    while fields.more:
        filters.append(fields.text())
    if not filters or not identity:
        raise BadPacket("UNSUBSCRIBE has no topic filter, or no packet id")
    return Unsubscribe(identity, tuple(filters))


def parse_puback(body: bytes) -> int:
    """The id of the packet that is acknowledged. Raises BadPacket."""
    return _Fields(body).number()


def packet(kind: Kind, body: bytes = b"", flags: int = 0) -> bytes:
    head = bytearray([kind << 4 | flags])
    length = len(body)
    while True:
        length, low = divmod(length, 128)
        head.append(low | 0x80 if length else low)
        if not length:
            return bytes(head) + body


def connack(code: int, session_present: bool = False) -> bytes:
    return packet(Kind.CONNACK, bytes([session_present, code]))


def acknowledgement(kind: Kind, identity: int, codes: bytes = b"") -> bytes:
    """PUBACK, SUBACK or UNSUBACK."""
    return packet(kind, identity.to_bytes(2, "big") + codes)


def publish(message: Message, identity: int = 0, *, again: bool = False) -> bytes:
    """A PUBLISH packet to a client. `again`: it may have been sent before."""
    topic = message.topic.encode()
    body = len(topic).to_bytes(2, "big") + topic + (identity.to_bytes(2, "big") if message.qos else b"")
    return packet(Kind.PUBLISH, body + message.payload, again << 3 | message.qos << 1 | message.retain)


def checked(message: Message) -> Message:
    """Raises BadPacket for a message that AWS IoT Core does not take."""
    topic = message.topic
    if not topic or "+" in topic or "#" in topic or topic.startswith("$"):
        raise BadPacket(f"{topic!r} is not a topic to publish to")
    if len(topic.encode()) > LONGEST_TOPIC or topic.count("/") > MOST_SLASHES:
        what = f"a topic may have {LONGEST_TOPIC} bytes and {MOST_SLASHES} slashes"
        raise BadPacket(f"{topic[:60]!r}… is too long: {what}")
    if len(message.payload) > LARGEST_PAYLOAD:
        raise BadPacket(f"{topic!r} gets {len(message.payload)} bytes; a message may have {LARGEST_PAYLOAD}")
    return message
