"""The test camera's RTSP server: sessions, and packets for each client over its RTSP connection or over UDP.

It is written with asyncio because there is no suitable library: aio-rtsp-toolkit's server plays files, over TCP only.
FFmpeg does the encoding and makes the packets (`encoder`); this module only sends them.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import Callable

from emflow_emulator.camera.encoder import Burst, Stream, is_rtcp, is_sender_report
from emflow_emulator.camera.rtsp_messages import (
    METHODS,
    TRACK,
    BadRequest,
    Datagrams,
    Interleaved,
    Login,
    RtspRequest,
    choose_transport,
    content_length,
    parse_request,
    response,
)

# A UDP client that has sent nothing for so many seconds counts as gone. Over TCP, its connection closes.
SESSION_TIMEOUT = 60.0
# A client that reads too slowly gets no frames until the next key frame, so that delay and memory stay limited.
_SLOW_CLIENT_BYTES = 1_000_000

log = logging.getLogger(__name__)


class RtspServer:
    """Serves one stream at one path.

    Args:
        path: such as `/front`.
        description: the SDP.
        host: address to listen on.
        login: the only user that may see it; None: everybody.
    """

    def __init__(self, path: str, description: str, host: str = "127.0.0.1", login: Login | None = None) -> None:
        self.path = path
        self.login = login
        self.description = description
        self.host = host
        self._players: set[_Session] = set()
        self._sessions: dict[asyncio.Task[None], _Session] = {}
        self._report = b""
        self._stream: Stream | None = None

    async def start(self, port: int) -> None:
        """Listen on `port`; 0 picks a free one.

        Raises:
            OSError: the port is taken.
        """
        self._server = await asyncio.start_server(self._client, self.host, port)
        loop = asyncio.get_running_loop()
        rtp, rtcp = _even_and_odd(self.host)
        self._rtp, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=rtp)
        self._rtcp, _ = await loop.create_datagram_endpoint(lambda: _Listener(self._on_report), sock=rtcp)
        self.udp_ports = rtp.getsockname()[1], rtcp.getsockname()[1]

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    def attach(self, stream: Stream) -> None:
        """Set the stream that calls `deliver`."""
        self._stream = stream

    async def stop(self) -> None:
        """Stop listening and disconnect all clients."""
        self._server.close()
        for session in self._sessions.values():
            session.close()
        if self._sessions:
            await asyncio.wait(self._sessions)
        self._rtp.close()
        self._rtcp.close()

    def deliver(self, burst: Burst) -> None:
        """Send one frame to all clients that play."""
        for packet in burst.packets:
            if is_sender_report(packet):
                self._report = packet
        for session in list(self._players):
            session.send(burst, self._report)

    def play(self, session: _Session) -> None:
        if session not in self._players and self._stream:
            self._players.add(session)
            self._stream.join()

    def pause(self, session: _Session) -> None:
        if session in self._players and self._stream:
            self._players.remove(session)
            self._stream.leave()

    def send_datagram(self, packet: bytes, host: str, ports: Datagrams) -> None:
        if is_rtcp(packet):
            self._rtcp.sendto(packet, (host, ports.rtcp))
        else:
            self._rtp.sendto(packet, (host, ports.rtp))

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = _Session(self, reader, writer)
        task = asyncio.current_task()
        assert task
        self._sessions[task] = session
        try:
            await session.run()
        finally:
            self.pause(session)
            del self._sessions[task]
            writer.close()

    def _on_report(self, address: tuple[str, int]) -> None:
        """A client has sent a receiver report, so it is still connected."""
        for session in self._players:
            session.on_report(address)


class _Listener(asyncio.DatagramProtocol):
    def __init__(self, on_datagram: Callable[[tuple[str, int]], None]) -> None:
        self._on_report = on_datagram

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:  # noqa: ARG002 asyncio's signature
        self._on_report(addr[:2])


class _Session:
    """One client: its connection, its transport, and whether it plays."""

    def __init__(self, server: RtspServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._peer: tuple[str, int] = writer.get_extra_info("peername")[:2]
        self._id = secrets.token_hex(8)
        self._transport: Interleaved | Datagrams | None = None
        self._needs_key = True
        self._last_message_at = time.monotonic()

    async def run(self) -> None:
        """Answer the client's requests until it disconnects."""
        try:
            while (request := await self._next_request()) is not None:
                self._writer.write(self._answer(request))
                await self._writer.drain()
                if request.method == "TEARDOWN":
                    return
        except BadRequest as error:
            log.warning("%s:%d %s", *self._peer, error)
            self._writer.write(response(400))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client disconnected without TEARDOWN, which is common
        except asyncio.LimitOverrunError:
            self._writer.write(response(400))

    def close(self) -> None:
        self._writer.transport.abort()

    def on_report(self, address: tuple[str, int]) -> None:
        if isinstance(self._transport, Datagrams) and address == (self._peer[0], self._transport.rtcp):
            self._last_message_at = time.monotonic()

    def send(self, burst: Burst, report: bytes) -> None:
        """Send one frame; the first one that is sent is a key frame."""
        if self._writer.transport.get_write_buffer_size() > _SLOW_CLIENT_BYTES:
            if not self._needs_key:
                log.warning("%s:%d reads too slowly and is skipped to the next key frame", *self._peer)
            self._needs_key = True
            return
        packets = burst.packets
        if self._needs_key:
            if not burst.key:
                return
            self._needs_key = False
            # A client that connects later needs the last report at once, for the times of its frames.
            packets = packets if report in packets else (report, *packets)
        match self._transport:
            case Interleaved() as channels:
                self._writer.writelines(_framed(packet, channels) for packet in packets)
            case Datagrams() as ports:
                for packet in packets:
                    self._server.send_datagram(packet, self._peer[0], ports)

    async def _next_request(self) -> RtspRequest | None:
        """The next request; packets on the interleaved channels (receiver reports) are ignored."""
        while True:
            try:
                first = await asyncio.wait_for(self._reader.read(1), self._patience())
            except TimeoutError:
                if self._patience() == 0:
                    log.info("%s:%d has sent nothing for %.0f s", *self._peer, SESSION_TIMEOUT)
                    return None
                continue
            if not first:
                return None
            self._last_message_at = time.monotonic()
            if first == b"$":
                head = await self._reader.readexactly(3)
                await self._reader.readexactly(int.from_bytes(head[1:], "big"))
            elif first not in b"\r\n":
                request = parse_request(first + (await self._reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n\r\n"))
                await self._reader.readexactly(content_length(request))
                return request

    def _patience(self) -> float | None:
        """Seconds without a message until the client counts as gone; None over TCP, where the connection closes."""
        if not isinstance(self._transport, Datagrams):
            return None
        return max(0.0, self._last_message_at + SESSION_TIMEOUT - time.monotonic())

    def _answer(self, request: RtspRequest) -> bytes:
        if not request.version.startswith("RTSP/1."):
            return response(505, request)
        if request.method not in METHODS:
            return response(501, request)
        if request.method == "OPTIONS":
            return response(200, request, {"Public": ", ".join(METHODS)})
        login = self._server.login
        if login and not login.admits(request):
            return response(401, request, {"WWW-Authenticate": login.challenge})
        if request.path not in (self._server.path, f"{self._server.path}/{TRACK}"):
            return response(404, request)
        if request.method == "DESCRIBE":
            return self._describe(request)
        if request.session not in ("", self._id):
            return response(454, request)
        if request.method == "SETUP":
            return self._setup(request)
        if self._transport is None:
            return response(455, request)
        headers = {"Session": self._id}
        match request.method:
            case "PLAY":
                log.info("%s:%d plays over %s", *self._peer, type(self._transport).__name__.lower())
                self._needs_key = True
                self._server.play(self)
                headers["Range"] = "npt=now-"
            case "PAUSE" | "TEARDOWN":
                self._server.pause(self)
        return response(200, request, headers)

    def _describe(self, request: RtspRequest) -> bytes:
        base = request.url if request.url.endswith("/") else f"{request.url}/"
        return response(
            200, request, {"Content-Base": base, "Content-Type": "application/sdp"}, self._server.description
        )

    def _setup(self, request: RtspRequest) -> bytes:
        transport = choose_transport(request.headers.get("transport", ""))
        match transport:
            case None:
                return response(461, request)
            case Interleaved():
                header = transport.header
            case Datagrams():
                header = transport.header(self._server.udp_ports)
        self._server.pause(self)
        self._transport = transport
        return response(200, request, {"Transport": header, "Session": f"{self._id};timeout={SESSION_TIMEOUT:.0f}"})


def _framed(packet: bytes, channels: Interleaved) -> bytes:
    """RFC 2326, section 10.12: a dollar sign, the channel, the length, the packet."""
    channel = channels.rtcp if is_rtcp(packet) else channels.rtp
    return b"$" + bytes([channel]) + len(packet).to_bytes(2, "big") + packet


def _even_and_odd(host: str) -> tuple[socket.socket, socket.socket]:
    """Two UDP sockets on consecutive ports, an even one for RTP and an odd one for RTCP (RFC 3550, section 11).

    Raises:
        OSError: no free pair of ports was found in many attempts.
    """
    for _ in range(100):
        rtp, rtcp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        rtp.setblocking(False)
        rtcp.setblocking(False)
        try:
            rtp.bind((host, 0))
            if rtp.getsockname()[1] % 2 == 0:
                rtcp.bind((host, rtp.getsockname()[1] + 1))
                return rtp, rtcp
        except OSError:
            pass
        rtp.close()
        rtcp.close()
    raise OSError("no pair of UDP ports is free")
