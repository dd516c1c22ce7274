"""The embedded MQTT broker: MQTT 3.1.1 in a thread of its own, for clients on this machine that have its password.

It takes what AWS IoT Core takes: its limits and its qualities of service. A client that breaks the protocol or a limit
is disconnected, as there, and the log says why. Nothing of a client is looked at before its password.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import hmac
import ipaddress
import logging
import threading
import uuid
from collections import deque
from concurrent.futures import Future
from types import TracebackType

from emflow.problems import Problem
from emflow_emulator.access import BrokerUser
from emflow_emulator.mqtt import packets
from emflow_emulator.mqtt.exchange import Exchange, RetainedMessages, Session
from emflow_emulator.mqtt.packets import BadPacket, Connect, Kind, Message

log = logging.getLogger(__name__)

_BAD_VERSION, _NO_CLIENT_ID, _BAD_USER = 1, 2, 4
"""Return codes of a CONNACK, MQTT 3.1.1, section 3.2.2.3."""
_PATIENCE = 10.0
"""Seconds in which a client has to send its CONNECT packet."""
MOST_CONNECTIONS = 512
MOST_UNAUTHENTICATED = 64
"""Connections, and those that have not sent the password yet. For one more of these, the oldest of them has to go."""
_FULL = 1024 * 1024
"""Bytes that wait to be read by a client, from which on it gets no messages of QoS 0."""


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
        self._exchange = Exchange()
        self._clients: dict[asyncio.Task[None], _Client] = {}
        self._unauthenticated: deque[_Client] = deque()

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    @property
    def retained(self) -> RetainedMessages:
        """The retained messages; they end with `stop`."""
        return self._exchange.retained

    def publish(self, message: Message) -> None:
        """Publish a message, from any thread."""
        self._loop.call_soon_threadsafe(self._exchange.publish, message)

    def start(self) -> None:
        """Start; clients can connect when this returns.

        Raises:
            Problem: the port is taken, or the address is open to other machines.
        """
        if not ipaddress.ip_address(self.host).is_loopback:
            raise Problem(f"the embedded broker has no TLS, so it does not listen on {self.host}")
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
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._thread = None

    async def _serve(self, listening: Future[int]) -> None:
        """The whole work of the thread; `listening` gets the port, or the exception that prevented listening."""
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._exchange = Exchange()
        try:
            server = await asyncio.start_server(self._connected, self.host, self.port)
        except Exception as error:
            listening.set_exception(error)
            return
        listening.set_result(server.sockets[0].getsockname()[1])
        await self._stopping.wait()
        # A connection that is just being accepted ends with the loop; asyncio would log a traceback for it.
        self._loop.set_exception_handler(lambda *_: None)
        server.close()
        for client in self._clients.values():
            client.abort()
        if self._clients:
            await asyncio.wait(self._clients)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The whole life of a connection."""
        client, task = _Client(reader, writer), asyncio.current_task()
        assert task
        if len(self._clients) >= MOST_CONNECTIONS:
            client.abort()
            return
        self._clients[task] = client
        self._unauthenticated.append(client)
        if len(self._unauthenticated) > MOST_UNAUTHENTICATED:
            self._unauthenticated.popleft().abort()
        try:
            await self._serve_client(client)
        except BadPacket as bad:
            # Without the password it is another program, such as a browser, and no fault of a client of this broker.
            log.log(
                logging.WARNING if client.name else logging.DEBUG,
                "MQTT client %s is disconnected: %s",
                client.name,
                bad,
            )
        except (OSError, EOFError, TimeoutError, asyncio.CancelledError):
            pass  # the client disconnected, said nothing for too long, or connected while the broker was stopping
        finally:
            del self._clients[task]
            if client in self._unauthenticated:
                self._unauthenticated.remove(client)
            client.close()

    async def _serve_client(self, client: _Client) -> None:
        """Raises BadPacket, OSError, EOFError and TimeoutError, which end the connection."""
        connect = await asyncio.wait_for(_read_connect(client), _PATIENCE)
        refused = self._refused(connect)
        if refused:
            await client.answer(packets.connack(refused))
            return
        if client in self._unauthenticated:
            self._unauthenticated.remove(client)
        if not connect.client_id:
            connect = dataclasses.replace(connect, client_id=f"auto-{uuid.uuid4().hex}")
        client.name = repr(connect.client_id)
        before = self._exchange.connected(connect.client_id)
        if isinstance(before, _Client):
            # MQTT 3.1.1, section 3.1.4: the same client has connected again.
            before.end_session(self._exchange, lost=True)
            before.abort()
        session, present = self._exchange.open(connect, client)
        client.session = session
        try:
            await client.answer(packets.connack(0, present))
            self._exchange.resume(session)
            # A client may be silent for one and a half times as long as it said: section 3.1.2.10.
            patience = connect.keep_alive * 1.5 or None
            going_on = True
            while going_on and client.session:  # which ends when the same client connects again
                going_on = await asyncio.wait_for(self._serve_packet(client, session), patience)
            client.end_session(self._exchange, lost=False)
        finally:
            client.end_session(self._exchange, lost=True)

    async def _serve_packet(self, client: _Client, session: Session) -> bool:
        """Read one packet and answer it; False when it says that the client disconnects."""
        kind, flags, body = await packets.read_packet(client.reader)
        exchange = self._exchange
        match kind:
            case Kind.PUBLISH:
                published = packets.parse_publish(flags, body)
                exchange.publish(published.message)
                if published.id:
                    await client.answer(packets.acknowledgement(Kind.PUBACK, published.id))
            case Kind.PUBACK:
                exchange.acknowledged(session, packets.parse_puback(body))
            case Kind.SUBSCRIBE:
                wanted = packets.parse_subscribe(body)
                codes = exchange.subscribe(session, wanted.filters)
                await client.answer(packets.acknowledgement(Kind.SUBACK, wanted.id, codes))
                exchange.send_retained(session, wanted.filters)
            case Kind.UNSUBSCRIBE:
                unwanted = packets.parse_unsubscribe(body)
                exchange.unsubscribe(session, unwanted.filters)
                await client.answer(packets.acknowledgement(Kind.UNSUBACK, unwanted.id))
            case Kind.PINGREQ:
                await client.answer(packets.packet(Kind.PINGRESP))
            case Kind.DISCONNECT:
                return False
            case _:
                raise BadPacket(f"a client may not send {kind.name} here")
        return True

    def _refused(self, connect: Connect) -> int:
        """The CONNACK return code for a client's CONNECT packet; 0 when it is accepted."""
        if connect.level != 4:
            return _BAD_VERSION
        # AWS's SDKs append their own name and version to the user's name.
        name = connect.user.partition("?")[0]
        right = hmac.compare_digest(name.encode(), self.user.name.encode())
        if not hmac.compare_digest(connect.password, self.user.password.encode()) or not right:
            return _BAD_USER
        return 0 if connect.client_id or connect.clean else _NO_CLIENT_ID


async def _read_connect(client: _Client) -> Connect:
    """Raises BadPacket for anything else, and EOFError."""
    kind, _, body = await packets.read_packet(client.reader)
    if kind != Kind.CONNECT:
        raise BadPacket("the first packet is not CONNECT")
    return packets.parse_connect(body)


class _Client:
    """A connection of a client: an `exchange.Outgoing`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.name = ""
        self.session: Session | None = None
        self._writer = writer

    @property
    def is_full(self) -> bool:
        return self._writer.transport.get_write_buffer_size() > _FULL

    def send(self, data: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(data)

    async def answer(self, data: bytes) -> None:
        """Send, and wait until the client has read most of what was sent before.

        Raises:
            ConnectionError: the connection is lost.
        """
        self.send(data)
        await self._writer.drain()

    def end_session(self, exchange: Exchange, *, lost: bool) -> None:
        """End the session in the exchange, or its connection; a second call does nothing."""
        session, self.session = self.session, None
        if session:
            exchange.close(session, lost=lost)

    def close(self) -> None:
        """Close the connection after what was sent."""
        self._writer.close()

    def abort(self) -> None:
        self._writer.transport.abort()
