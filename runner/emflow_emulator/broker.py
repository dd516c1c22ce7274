"""The embedded MQTT broker: amqtt in a thread of its own, for clients on this machine that know its user's password.

It speaks MQTT 3.1.1, as AWS IoT's SDKs do by default. The password is checked here, before amqtt sees anything of a
client: amqtt ends the session of whoever has the same name before it looks at a password.
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

# amqtt tells every packet; what goes wrong inside it still comes through.
_QUIET = ("amqtt", "transitions")
# A broker listens by itself, too, but then nobody learns which port it took; so the listener is ours ("external").
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
"""Seconds in which a client has to say who it is."""


class Broker:
    """An MQTT broker on loopback, from `start` to `stop`; also a context manager.

    Args:
        host: the loopback address to listen on.
        port: the port to listen on; 0 picks a free one, which `port` tells after `start`.
        user: who may use it; a new user when not given.
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
        """Let all clients go, free the port, end the thread. Nothing to do when it does not run."""
        if self._thread:
            self._loop.call_soon_threadsafe(self._told.set)
            self._thread.join()
            self._thread = None

    async def _serve(self, listening: Future[int]) -> None:
        """Everything the thread does; `listening` gets the port, or the reason why there is none."""
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
        # Who is just being accepted is let go with the loop; asyncio would write a traceback about it.
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
            pass  # it left without a word, or came while the broker was stopping
        finally:
            del self._clients[task]
            writer.close()

    async def _refused(self, packet: bytes) -> int:
        """The return code for a client that is not let in; 0 for one that is."""
        try:
            connect = await ConnectPacket.from_stream(BufferReader(packet))
            name, password = connect.username or "", connect.password or ""
        except Exception as error:  # amqtt raises what comes of bytes that make no sense
            raise ValueError("this is no CONNECT") from error
        if connect.proto_level != 4:
            return _BAD_VERSION
        # AWS's SDKs put their own name and version behind the user's.
        name = name.partition("?")[0]
        right = hmac.compare_digest(name.encode(), self.user.name.encode())
        return 0 if hmac.compare_digest(password.encode(), self.user.password.encode()) and right else _BAD_USER


async def _connect_packet(reader: asyncio.StreamReader) -> bytes:
    """The first packet of a client, as it came.

    Raises:
        ValueError: it is no CONNECT, or none that is short enough.
        EOFError: the client left before its end.
    """
    head = await reader.readexactly(1)
    if head[0] != _CONNECT:
        raise ValueError("the first packet is no CONNECT")
    length, shift = 0, 0
    while True:
        byte = await reader.readexactly(1)
        head += byte
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            break
        if shift > 21:
            raise ValueError("this is no length of a packet")
    if length > _LARGEST_CONNECT:
        raise ValueError("the CONNECT is too long")
    return head + await reader.readexactly(length)


class _Resumed(ReaderAdapter):  # type: ignore[misc]
    """A client's packets, with the first one again, which has been read already."""

    def __init__(self, first: bytes, reader: asyncio.StreamReader) -> None:
        self._first, self._reader = first, reader

    async def read(self, n: int = -1) -> bytes:
        if not self._first:
            return await (self._reader.read() if n < 0 else self._reader.readexactly(n))
        data, self._first = (self._first, b"") if n < 0 else (self._first[:n], self._first[n:])
        return data if n < 0 or len(data) == n else data + await self._reader.readexactly(n - len(data))

    def feed_eof(self) -> None:
        self._reader.feed_eof()
