"""An HTTP camera behind a relay: requests get user and password on their way."""

from __future__ import annotations

import contextlib
import dataclasses
import time

from emflow_edge.camera.http_request import HttpRequest
from emflow_edge.camera.relay import FIRST_REQUEST, Relay
from emflow_edge.rtsp.auth import OriginCredentials
from emflow_edge.rtsp.buffered_socket import BufferedSocket
from emflow_edge.rtsp.errors import CameraLost
from emflow_edge.rtsp.messages import MalformedMessage, MessageHead, response, take_head
from emflow_edge.rtsp.notices import Notice
from emflow_schema.edge_config import Stream

# What passes of an answer.
_ANSWERED = ("content-type", "content-length", "transfer-encoding")
# Seconds in which the program has to take what the camera sends, and in which more has to come.
_PATIENCE = 60.0


class HttpRelay:
    """The relay of one stream. The program may ask for the stream's address, and for what lies below it.

    Args:
        stream: its settings.
        credentials: user and password, for the origin of its URL only.
        notice: reports redirects to which user and password are not sent, and other oddities.

    Raises:
        CameraLost: there is no free port for it.
    """

    def __init__(self, stream: Stream, credentials: tuple[str, str], notice: Notice) -> None:
        self._stream, self._notice = stream, notice
        self._credentials = OriginCredentials(stream.place, *credentials)
        self._relay = Relay("http", self._serve)

    @property
    def url(self) -> str:
        """The address for the program."""
        return self._relay.url + self._stream.place.path.partition("#")[0]

    @property
    def problem(self) -> CameraLost | None:
        """Why the camera's stream ended, or did not begin; None where it is not known."""
        return self._relay.problem

    def close(self) -> None:
        self._relay.close()

    def _serve(self, client: BufferedSocket) -> None:
        request = _taken(client)
        path = None if request is None else self._relay.accept(client, request.first[1])
        if request is None or path is None:
            return
        if request.first[0] != "GET":
            self._send(client, response("HTTP/1.0", "405", "Method Not Allowed", []))
            return
        place = dataclasses.replace(self._stream.place, path=path)
        timeout = self._stream.open_timeout.seconds
        asked = HttpRequest(place, self._credentials, self._stream.ca or "", timeout, self._relay.closed, self._notice)
        try:
            answer = asked.answer()
        except CameraLost as lost:
            self._relay.report(client, lost)
            self._send(client, response("HTTP/1.0", "502", "Bad Gateway", []))
            raise
        with contextlib.closing(answer.wire) as camera:
            headers = [(name.title(), answer.head.get(name)) for name in _ANSWERED if answer.head.get(name)]
            try:
                head = response(answer.protocol, "200", "OK", [*headers, ("Connection", "close")])
            except MalformedMessage as error:
                raise CameraLost(f"answers with {error}; is it an HTTP camera?") from error
            self._send(client, head)
            while self._send(client, bytes(camera.buffer)):
                camera.buffer.clear()
                try:
                    camera.fill(time.monotonic() + _PATIENCE)
                except TimeoutError:
                    raise CameraLost(f"sent nothing for {_PATIENCE:g} s") from None

    @staticmethod
    def _send(client: BufferedSocket, data: bytes) -> bool:
        """Whether the program takes it."""
        try:
            client.send(data, time.monotonic() + _PATIENCE)
        except (CameraLost, TimeoutError):
            return False
        return True


def _taken(client: BufferedSocket) -> MessageHead | None:
    """The program's request; None when none comes in time."""
    deadline = time.monotonic() + FIRST_REQUEST
    with contextlib.suppress(CameraLost, TimeoutError, MalformedMessage):
        while True:
            head = take_head(client.buffer)
            if head is not None:
                return head
            client.fill(deadline)
    return None
