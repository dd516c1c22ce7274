"""HTTP cameras with an MJPEG stream (multipart/x-mixed-replace).

Uses HTTP/1.0, so that the response is not chunked by servers that keep to the protocol.
"""

from __future__ import annotations

import re
import threading
import time
from urllib.parse import urljoin

import numpy as np

from emflow_edge.camera.multipart import ChunkedBody, MultipartParser
from emflow_edge.camera.open_camera import ArrivedFrame, DecodedPicture
from emflow_edge.camera.opencv_camera import ArrayPicture
from emflow_edge.opencv import cv2
from emflow_edge.rtsp.auth import Authenticator, OriginCredentials, best_challenge
from emflow_edge.rtsp.buffered_socket import BufferedSocket, tls_context
from emflow_edge.rtsp.errors import CameraLost, CameraRefused
from emflow_edge.rtsp.messages import MalformedMessage, MessageHead, request, take_head
from emflow_edge.rtsp.notices import Notice, no_notice
from emflow_schema.edge_config import Stream
from emflow_schema.stream_url import Place, split

_REDIRECTS = 5
_BOUNDARY = re.compile(r'boundary\s*=\s*"?([^";,\s]+)', re.IGNORECASE)
# HTTP version not supported, and upgrade required.
_NEWER_WANTED = (505, 426)
# What else is answered: a type that names motion JPEG, or says nothing.
_KIND = re.compile(r"multipart/|\S*(?:mjpe?g|motion-?jpe?g|octet-stream)", re.IGNORECASE)
# A capture time from the camera is used only if it is at most so many seconds old, and not in the future.
_OLDEST = 2.0


class MjpegCamera:
    """Raises CameraLost when it cannot be opened; CameraRefused when it refuses us, or is none of this kind."""

    def __init__(
        self, stream: Stream, credentials: tuple[str, str], stop: threading.Event, notice: Notice = no_notice
    ) -> None:
        self.fps = 0.0
        self._stream, self._stop, self._notice = stream, stop, notice
        self._credentials = OriginCredentials(stream.place, *credentials)
        self._wire: BufferedSocket | None = None
        self._chunks: ChunkedBody | None = None
        self._protocol = "HTTP/1.0"
        self._deadline = time.monotonic() + stream.open_timeout.seconds
        try:
            self._parts = MultipartParser(self._ask(stream.place), notice)
        except (TimeoutError, MalformedMessage) as error:
            self.close()
            what = "does not answer" if isinstance(error, TimeoutError) else f"answers with {error}"
            raise CameraLost(f"{what}; is it an HTTP camera?") from error
        except BaseException:
            self.close()
            raise
        self._decoded_at = time.monotonic()

    def _ask(self, place: Place) -> str:
        """Request the stream; returns the multipart boundary, empty where none is named."""
        answers: Authenticator | None = None
        for _ in range(_REDIRECTS):
            head = self._answer(place, answers)
            if head.status == 401:
                if answers is not None:
                    raise CameraRefused("refuses user and password (401)")
                asked = best_challenge(head.all("www-authenticate"))
                own = self._credentials.at(place)
                if not any(own):
                    raise CameraRefused(self._credentials.missing(place))
                if asked is None:
                    raise CameraRefused("requires an authentication method that is not supported")
                answers = Authenticator(asked, *own)
            elif 300 <= head.status < 400:
                place = self._redirected(place, head.get("location"))
                answers = None
            elif head.status in _NEWER_WANTED and self._protocol == "HTTP/1.0":
                self._notice(f"refuses HTTP/1.0 ({head.status}); it is asked by HTTP/1.1")
                self._protocol = "HTTP/1.1"
            elif head.status != 200:
                raise CameraLost(f"answers with {head.status} {head.first[2]}".strip())
            else:
                return self._accept(head)
        raise CameraLost("redirects too often")

    def _accept(self, head: MessageHead) -> str:
        """The boundary that an answer names. Some cameras name none, or no type, and send pictures all the same."""
        kind, boundary = head.get("content-type"), _BOUNDARY.search(head.get("content-type"))
        if kind and not _KIND.match(kind):
            raise CameraLost("does not send an MJPEG stream (multipart/x-mixed-replace)")
        if "chunked" in head.get("transfer-encoding").lower():
            if self._protocol == "HTTP/1.0":
                self._notice("answers HTTP/1.0 in chunks; the pictures are taken out of them")
            self._chunks = ChunkedBody()
        return boundary.group(1) if boundary else ""

    def _answer(self, place: Place, answers: Authenticator | None) -> MessageHead:
        if self._wire is not None:
            self._wire.close()
        context = tls_context(self._stream.ca or "") if place.scheme == "https" else None
        left = max(0.1, self._deadline - time.monotonic())
        wire = self._wire = BufferedSocket(place.host, place.port, left, self._stop, context)
        target = (place.path if place.path.startswith("/") else f"/{place.path}").partition("#")[0]
        headers = [("Host", place.authority), ("User-Agent", "emflow-edge"), ("Connection", "close")]
        if answers is not None:
            headers.append(("Authorization", answers.header("GET", target)))
        wire.send(request("GET", target, self._protocol, headers), self._deadline)
        while True:
            head = take_head(wire.buffer)
            if head is not None:
                return head
            wire.fill(self._deadline)

    def _redirected(self, place: Place, location: str) -> Place:
        try:
            to = split(urljoin(f"{place.scheme}://{place.authority}{place.path}", location))
        except ValueError as error:
            raise CameraRefused("redirects to an invalid URL") from error
        if to.scheme not in ("http", "https") or (place.scheme == "https" and to.scheme != "https"):
            raise CameraRefused(f"redirects to {to.scheme}, which is not allowed")
        if self._credentials.withheld(to):
            self._notice(f"redirects to {to.shown}; user and password are not sent there")
        return to

    def grab(self) -> ArrivedFrame:
        assert self._wire is not None
        came, deadline = 0, time.monotonic() + self._stream.read_timeout.seconds
        try:
            self._parts.read(self._body(), time.monotonic())
            while not self._parts.complete:
                before = len(self._wire.buffer)
                self._wire.fill(deadline)
                came += len(self._wire.buffer) - before
                self._parts.read(self._body(), time.monotonic())
        except TimeoutError as error:
            but = f", but {came} bytes" if came else ""
            timeout = self._stream.read_timeout.seconds
            raise CameraLost(f"sent no complete picture for {timeout:g} s{but}") from error
        except MalformedMessage as error:
            raise CameraLost(f"sends {error}") from error
        part = self._part = self._parts.complete.popleft()
        arrived = time.time() - (time.monotonic() - part.arrived_at)
        taken = part.captured_at if 0 <= arrived - part.captured_at <= _OLDEST else arrived
        self._arrival = ArrivedFrame(
            taken, part.arrived_at, superseded=bool(self._parts.complete), delay=arrived - taken
        )
        return self._arrival

    def _body(self) -> bytearray:
        """What of the answer's body has come."""
        assert self._wire is not None
        if self._chunks is None:
            return self._wire.buffer
        self._chunks.read(self._wire.buffer)
        return self._chunks.buffer

    def decode(self, *, alone: bool) -> list[tuple[ArrivedFrame, DecodedPicture]]:  # noqa: ARG002 every JPEG is independent
        try:
            image = cv2.imdecode(np.frombuffer(self._part.data, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:
            # Too large, or not a JPEG.
            image = None
        now = time.monotonic()
        if image is not None:
            self._decoded_at = now
            return [(self._arrival, ArrayPicture(image))]
        if now - self._decoded_at > 2 * self._stream.read_timeout.seconds:
            raise CameraLost("sends what cannot be decoded")
        return []

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()
