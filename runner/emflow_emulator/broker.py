"""The embedded MQTT broker: amqtt in its own thread, for clients on this machine that have the user's password.

It uses MQTT 3.1.1, the default of AWS IoT's SDKs. The password is checked here, before amqtt gets any packet of a
client: amqtt ends an existing session with the same client id before it checks the password of the new client.
"""

from __future__ import annotations

import asyncio
import errno
import hmac
import ipaddress
import logging
import threading
from concurrent.futures import Future
from types import TracebackType

from amqtt.adapters import BufferReader, ReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker as Amqtt
from amqtt.mqtt.connect import ConnectPacket

from emflow.problems import Problem
from emflow_emulator.access import BrokerUser

# amqtt logs every packet; its errors are still logged.
_QUIET = ("amqtt", "transitions")
# amqtt can also listen itself, but then the chosen port is not known; so the listener is made here ("external").
_LISTENER = "default"
_CONFIG = {
    "listeners": {_LISTENER: {"type": "external"}},
    "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": False}},
}
_CONNECT = 0x10
_BAD_VERSION, _BAD_USER = 1, 4
"""Return codes of a CONNACK, MQTT 3.1.1, section 3.2.2.3."""
_LARGEST_CONNECT = 256 * 1024
_PATIENCE = 10.0
"""Seconds in which a client has to send its CONNECT packet."""


class Broker:
    """An MQTT broker on loopback, from `start` to `stop`; also a context manager.

    Args:
        host: the loopback address to listen on.
        port: the port to listen on; 0 picks a free one, and `port` has its number after `start`.
        user: the only user that may connect; None makes a new one.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, user: BrokerUser | None = None) -> None:
        self.host = host
        self.port = port
        self.user = user or BrokerUser.new()
        self._thread: threading.Thread | None = None
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start; clients can connect when this returns.

        Raises:
            Problem: the port is taken, or the address is open to other machines.
        """
        if not ipaddress.ip_address(self.host).is_loopback:
            raise Problem(f"the embedded broker has no TLS, so it does not listen on {self.host}")
        for name in _QUIET:
            logging.getLogger(name).setLevel(logging.ERROR)
        listening: Future[int] = Future()
        self._thread = threading.Thread(target=asyncio.run, args=[self._serve(listening)], name="broker", daemon=True)
        self._thread.start()
        try:
            self.port = listening.result()
        except (OSError, OverflowError) as error:
            self._thread.join()
            self._thread = None
            if getattr(error, "errno", None) == errno.EADDRINUSE:
                what, mend = f"MQTT port {self.port} is taken", "Choose another with --mqtt-port; 0 picks a free one."
            else:
                what, mend = f"cannot listen on {self.host}:{self.port}: {error}", "Choose another with --mqtt-port."
            raise Problem(what, mend=mend) from error

    def stop(self) -> None:
        """Disconnect all clients, free the port and end the thread. Does nothing when the broker does not run."""
        if self._thread:
            self._loop.call_soon_threadsafe(self._told.set)
            self._thread.join()
            self._thread = None

    async def _serve(self, listening: Future[int]) -> None:
        """The whole work of the thread; `listening` gets the port, or the exception that prevented listening."""
        self._loop, self._told = asyncio.get_running_loop(), asyncio.Event()
        try:
            server = await asyncio.start_server(self._client, self.host, self.port, start_serving=False)
            self._amqtt = Amqtt(_CONFIG)
            await self._amqtt.start()
            await server.start_serving()
        except Exception as error:
            listening.set_exception(error)
            return
        listening.set_result(server.sockets[0].getsockname()[1])
        await self._told.wait()
        # A connection that is just being accepted ends with the loop; asyncio would log a traceback for it.
        self._loop.set_exception_handler(lambda *_: None)
        server.close()
        for writer in self._clients.values():
            writer.transport.abort()
        if self._clients:
            await asyncio.wait(self._clients)
        await self._amqtt.shutdown()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._clients[task] = writer
        try:
            connect = await asyncio.wait_for(_connect_packet(reader), _PATIENCE)
            refused = await self._refused(connect)
            if refused:
                writer.write(bytes([0x20, 2, 0, refused]))
                await writer.drain()
            else:
                await self._amqtt.external_connected(_Resumed(connect, reader), StreamWriterAdapter(writer), _LISTENER)
        except (ConnectionError, EOFError, TimeoutError, ValueError, asyncio.CancelledError):
            pass  # the client disconnected without a packet, or connected while the broker was stopping
        finally:
            del self._clients[task]
            writer.close()

    async def _refused(self, packet: bytes) -> int:
        """The CONNACK return code for a client's CONNECT packet; 0 when it is accepted."""
        try:
            connect = await ConnectPacket.from_stream(BufferReader(packet))
            name, password = connect.username or "", connect.password or ""
        except Exception as error:  # amqtt raises exceptions of many types for bytes that it cannot parse
            raise ValueError("this is not a CONNECT packet") from error
        if connect.proto_level != 4:
            return _BAD_VERSION
        # AWS's SDKs append their own name and version to the user's name.
        name = name.partition("?")[0]
        right = hmac.compare_digest(name.encode(), self.user.name.encode())
        return 0 if hmac.compare_digest(password.encode(), self.user.password.encode()) and right else _BAD_USER


async def _connect_packet(reader: asyncio.StreamReader) -> bytes:
    """The bytes of a client's first packet.

    Raises:
        ValueError: it is not a CONNECT packet, or it is too long.
        EOFError: the client disconnected before the end of the packet.
    """
    head = await reader.readexactly(1)
    if head[0] != _CONNECT:
        raise ValueError("the first packet is not a CONNECT packet")
    length, shift = 0, 0
    while True:
        byte = await reader.readexactly(1)
        head += byte
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            break
        if shift > 21:
            raise ValueError("the packet's length is not valid")
    if length > _LARGEST_CONNECT:
        raise ValueError("the CONNECT packet is too long")
    return head + await reader.readexactly(length)


class _Resumed(ReaderAdapter):  # type: ignore[misc]
    """A reader of a client's packets that returns the first one again, although it has been read already."""

    def __init__(self, first: bytes, reader: asyncio.StreamReader) -> None:
        self._first, self._reader = first, reader

    async def read(self, n: int = -1) -> bytes:
        if not self._first:
            return await (self._reader.read() if n < 0 else self._reader.readexactly(n))
        data, self._first = (self._first, b"") if n < 0 else (self._first[:n], self._first[n:])
        return data if n < 0 or len(data) == n else data + await self._reader.readexactly(n - len(data))

    def feed_eof(self) -> None:
        self._reader.feed_eof()
