"""An RTSP camera behind a relay: requests get user and password on their way, and the camera's addresses become the
relay's, and back.

Packets pass as they are. Over UDP they do not come here at all: the camera sends them to the ports of the program,
which is on the same device.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import select
import socket
import threading
import time

from emflow_edge.camera.relay import FIRST_REQUEST, Relay
from emflow_edge.rtsp.auth import OriginCredentials
from emflow_edge.rtsp.buffered_socket import BufferedSocket, tls_context
from emflow_edge.rtsp.connection import refusal
from emflow_edge.rtsp.description import Description, describe
from emflow_edge.rtsp.errors import CameraLost
from emflow_edge.rtsp.framing import RtspReader, framed
from emflow_edge.rtsp.messages import MalformedMessage, MessageHead, response
from emflow_edge.rtsp.notices import Notice
from emflow_edge.rtsp.sdp import control_url
from emflow_schema.edge_config import Stream

# What passes of a request, and of an answer.
_ASKED = ("accept", "transport", "range", "scale", "speed", "blocksize", "require")
_ANSWERED = ("public", "transport", "session", "range", "scale", "speed", "unsupported")
_CONTROL = re.compile(r"a=control:[ \t]*(.*)", re.IGNORECASE)
# Seconds between two looks at whether it has to end.
_LOOK = 0.25
# Seconds in which the program has to take what the camera sends; and for the camera's answer to a TEARDOWN.
_PATIENCE, _GOODBYE = 60.0, 0.5


class RtspRelay:
    """The relay of one stream.

    Args:
        stream: its settings.
        credentials: user and password, for the origin of its URL only.
        stop: ends the opening.
        notice: reports redirects to which user and password are not sent, and other oddities.

    Raises:
        CameraLost: nothing answers, or the camera does not describe the stream: the program would find out too, but not
            report why, and a host that is off would hold it for its whole timeout.
    """

    def __init__(self, stream: Stream, credentials: tuple[str, str], stop: threading.Event, notice: Notice) -> None:
        self._stream, self._notice = stream, notice
        self._credentials = OriginCredentials(stream.place, *credentials)
        # Servers that stop a stream with its last client refuse the next one for a moment; so the connection stays.
        first = self._described(stop)
        self._held = [first]
        ipv6 = first.connection.wire.family == socket.AF_INET6
        self.transport = "tcp" if ipv6 else stream.transport
        """How the program has to read it."""
        if self.transport != stream.transport:
            notice("is at an IPv6 address; with user and password, GStreamer and OpenCV read it over TCP")
        try:
            self._relay = Relay("rtsp", self._serve)
        except BaseException:
            first.connection.wire.close()
            raise

    @property
    def url(self) -> str:
        """The address for the program."""
        return self._relay.url

    @property
    def problem(self) -> CameraLost | None:
        """Why the camera's stream ended, or did not begin; None where it is not known."""
        return self._relay.problem

    def close(self) -> None:
        self._relay.close()
        while self._held:
            self._held.pop().connection.wire.close()

    def _described(self, stop: threading.Event) -> Description:
        stream = self._stream
        context = tls_context(stream.ca) if stream.ca else None
        timeout = stream.open_timeout.seconds
        return describe(stream.place, self._credentials, context, timeout, stop, self._notice)

    def _serve(self, client: BufferedSocket) -> None:
        requests = RtspReader(client.buffer)
        first = _first_request(client, requests)
        if first is None or self._relay.accept(client, first.first[1]) is None:
            return
        described = self._held.pop() if self._held else self._described(self._relay.closed)
        session = _Session(client, requests, described, self._relay, self._stream.open_timeout.seconds)
        try:
            session.run(first)
        except MalformedMessage as error:
            raise CameraLost(f"sends {error}; is it an RTSP camera?") from error
        finally:
            session.end()


class _Session:
    """One program's session with the camera. All waiting ends when the relay is closed.

    Args:
        client: the program's connection.
        requests: takes its messages and packets.
        described: the camera's description, and the connection to it.
        relay: whose address stands for the camera's.
        timeout: seconds in which the camera has to answer.
    """

    def __init__(
        self, client: BufferedSocket, requests: RtspReader, described: Description, relay: Relay, timeout: float
    ) -> None:
        self._client, self._requests, self._relay, self._timeout = client, requests, relay, timeout
        self._camera = described.connection
        self._camera.on_packet = lambda packet: self._to_client(framed(packet))
        self._description, self._controls = put_in_place(described.body, described.base, relay.url)
        self._aggregate = self._controls[relay.url]
        self._over = False

    def run(self, first: MessageHead) -> None:
        """Until one of the two ends it. first: the first request.

        Raises:
            CameraLost: the camera ended it, or refused something.
        """
        self._answer(first)
        poll = select.poll()
        for wire in (self._client, self._camera.wire):
            poll.register(wire.fileno(), select.POLLIN)
        moved = True
        while not self._over:
            # Without waiting after something came: of TLS, more may be here already.
            poll.poll(0 if moved else _LOOK * 1000)
            self._from_client()
            moved = self._from_camera()

    def end(self) -> None:
        """End the camera's session, without waiting for its answer."""
        if self._camera.session:
            self._camera.deadline = time.monotonic() + 0.1
            with contextlib.suppress(CameraLost, TimeoutError, MalformedMessage):
                self._camera.send("TEARDOWN", self._aggregate)
        self._camera.wire.close()

    def _from_client(self) -> None:
        closed = False
        try:
            self._client.fill_without_waiting()
        except CameraLost:
            # By the program, not the camera. What it sent before is still answered.
            closed = True
        while not self._over and (found := self._requests.take()) is not None:
            if isinstance(found, bytes):
                self._camera.deadline = time.monotonic() + self._timeout
                self._camera.send_packet(found[0], found[1:])
            elif not found[0].status:
                self._answer(found[0])
        self._over = self._over or closed

    def _from_camera(self) -> bool:
        """Whether something came."""
        before = len(self._camera.wire.buffer)
        self._camera.wire.fill_without_waiting()
        came = len(self._camera.wire.buffer) > before
        packets = bytearray()
        while (found := self._camera.take()) is not None:
            if isinstance(found, bytes):
                packets += framed(found)
            elif found[0].first[0] in ("REDIRECT", "TEARDOWN"):
                raise CameraLost("ended the stream")
            elif not found[0].status:
                self._camera.deadline = time.monotonic() + self._timeout
                self._camera.reply(found[0])
        self._to_client(packets)
        return came

    def _to_client(self, data: bytes | bytearray) -> None:
        """Send it. A program that takes nothing for a long time is given up."""
        try:
            self._client.send(data, time.monotonic() + _PATIENCE)
        except (CameraLost, TimeoutError):
            self._over = True

    def _answer(self, request: MessageHead) -> None:
        """Ask the camera what the program asks for, and send it the answer."""
        method, target, _ = request.first
        url = self._aggregate if target == "*" else self._controls.get(target.rstrip("/"))
        headers = [("CSeq", request.get("cseq"))]
        if url is None:
            self._to_client(response("RTSP/1.0", "404", "Not Found", headers))
        elif method == "DESCRIBE":
            headers += [("Content-Type", "application/sdp"), ("Content-Base", f"{self._relay.url}/")]
            self._to_client(response("RTSP/1.0", "200", "OK", headers, self._description))
        else:
            head = self._ask(method, url, request)
            if head is not None:
                headers += [(name.title(), head.get(name)) for name in _ANSWERED if head.get(name)]
                self._to_client(response("RTSP/1.0", head.first[1], head.first[2], headers))
        if method == "TEARDOWN":
            self._over = True

    def _ask(self, method: str, url: str, request: MessageHead) -> MessageHead | None:
        """The camera's answer; None when none comes, which only matters where there is no stream yet.

        Raises:
            CameraLost: it does not answer, or redirects; CameraRefused: it refuses user and password.
        """
        camera = self._camera
        camera.deadline = time.monotonic() + (_GOODBYE if method == "TEARDOWN" else self._timeout)
        headers = [(name.title(), request.get(name)) for name in _ASKED if request.get(name)]
        try:
            head, _ = camera.exchange(method, url, headers)
        except TimeoutError:
            if method in ("SETUP", "PLAY"):
                raise CameraLost(f"does not answer {method}") from None
            return None
        if 300 <= head.status < 400:
            # The program would follow it. Only DESCRIBE is redirected by cameras, and that is followed before.
            raise CameraLost(f"redirects {method}, which is not followed")
        if head.status != 200 and method in ("SETUP", "PLAY"):
            self._relay.report(self._client, refusal(method, head))
        if method == "TEARDOWN":
            camera.session = ""
        elif method == "SETUP" and head.status == 200:
            camera.session = head.get("session").partition(";")[0].strip()
            return self._with_source(head)
        return head

    def _with_source(self, head: MessageHead) -> MessageHead:
        """The answer to a SETUP, with the camera's own address where its UDP packets come from there."""
        transport = head.get("transport")
        how = transport.upper().split(";")
        if not transport or "TCP" in how[0] or "MULTICAST" in how or any(one.startswith("SOURCE=") for one in how):
            return head
        others = tuple(one for one in head.headers if one[0] != "transport")
        return dataclasses.replace(
            head, headers=(*others, ("transport", f"{transport};source={self._camera.wire.peer}"))
        )


def _first_request(client: BufferedSocket, requests: RtspReader) -> MessageHead | None:
    """None when none comes in time."""
    deadline = time.monotonic() + FIRST_REQUEST
    with contextlib.suppress(CameraLost, TimeoutError, MalformedMessage):
        while True:
            found = requests.take()
            if found is not None:
                return found[0] if isinstance(found, tuple) else None
            client.fill(deadline)
    return None


def put_in_place(description: bytes, base: str, url: str) -> tuple[bytes, dict[str, str]]:
    """The description with addresses at the relay, and the camera's address for each of them.

    Args:
        description: SDP.
        base: what the camera's addresses begin with.
        url: the relay's address, which stands for the whole stream; those of tracks are below it.
    """
    # As one byte each, so that nothing else in it changes.
    lines = description.decode("latin-1").replace("\r\n", "\n").split("\n")
    sections: list[list[str]] = [[]]
    for line in filter(None, lines):
        if line.startswith("m="):
            sections.append([])
        sections[-1].append(line)
    controls, text = {}, []
    for number, section in enumerate(sections):
        matches = [match for match in map(_CONTROL.match, section) if match]
        here = f"{url}/{number}" if number else url
        controls[here] = control_url(base, matches[0].group(1).strip() if matches else "")
        text += [line for line in section if not _CONTROL.match(line)]
        if number:
            text.append(f"a=control:{here}")
    return "".join(f"{line}\r\n" for line in text).encode("latin-1"), controls
