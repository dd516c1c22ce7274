"""HTTP cameras with an MJPEG stream (multipart/x-mixed-replace).

Uses HTTP/1.0, so that the response is not chunked.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from dataclasses import dataclass
from urllib.parse import urljoin

import numpy as np

from emflow_edge.camera.open_camera import ArrivedFrame, DecodedPicture
from emflow_edge.camera.opencv_camera import ArrayPicture
from emflow_edge.opencv import cv2
from emflow_edge.rtsp.auth import Authenticator, best_challenge
from emflow_edge.rtsp.buffered_socket import BufferedSocket, tls_context
from emflow_edge.rtsp.errors import CameraLost, CameraRefused
from emflow_edge.rtsp.messages import LONGEST_HEAD, MalformedMessage, MessageHead, request, take_head, take_headers
from emflow_schema.edge_config import Stream
from emflow_schema.stream_url import Place, split

_REDIRECTS = 5
_MAX_JPEG_BYTES = 32 << 20
_BOUNDARY = re.compile(r'boundary\s*=\s*"?([^";,\s]+)', re.IGNORECASE)
# A capture time from the camera is used only if it is at most so many seconds old, and not in the future.
_OLDEST = 2.0


class MjpegCamera:
    """Raises Lost when the camera cannot be had; CameraRefused when it does not want us, or is none of this kind."""

    def __init__(self, stream: Stream, credentials: tuple[str, str], stop: threading.Event) -> None:
        self.fps = 0.0
        self._stream, self._stop, self._credentials = stream, stop, credentials
        self._wire: BufferedSocket | None = None
        self._deadline = time.monotonic() + stream.open_timeout.seconds
        try:
            self._parts = MultipartParser(self._ask(stream.place))
        except (TimeoutError, MalformedMessage) as error:
            self.close()
            what = "does not answer" if isinstance(error, TimeoutError) else f"answers with {error}"
            raise CameraLost(f"{what}; is it an HTTP camera?") from error
        except BaseException:
            self.close()
            raise
        self._decoded_at = time.monotonic()

    def _ask(self, place: Place) -> str:
        """Request the stream; returns the multipart boundary."""
        answers: Authenticator | None = None
        for _ in range(_REDIRECTS):
            head = self._answer(place, answers)
            if head.status == 401:
                if answers is not None:
                    raise CameraRefused("refuses user and password (401)")
                asked = best_challenge(head.all("www-authenticate"))
                if asked is None or not any(self._credentials):
                    raise CameraRefused("requires user and password, but none are configured")
                answers = Authenticator(asked, *self._credentials)
            elif 300 <= head.status < 400:
                place = self._redirected(place, head.get("location"))
                answers = None
            elif head.status != 200:
                raise CameraLost(f"answers with {head.status} {head.first[2]}".strip())
            else:
                kind, boundary = head.get("content-type"), _BOUNDARY.search(head.get("content-type"))
                if not kind.lower().startswith("multipart/") or boundary is None:
                    raise CameraLost("does not send an MJPEG stream (multipart/x-mixed-replace)")
                return boundary.group(1)
        raise CameraLost("redirects too often")

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
        wire.send(request("GET", target, "HTTP/1.0", headers), self._deadline)
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
        if to.host != place.host:
            # The credentials are for the configured host only.
            self._credentials = ("", "")
        return to

    def grab(self) -> ArrivedFrame:
        assert self._wire is not None
        try:
            deadline = time.monotonic() + self._stream.read_timeout.seconds
            self._parts.read(self._wire.buffer, time.monotonic())
            while not self._parts.complete:
                self._wire.fill(deadline)
                self._parts.read(self._wire.buffer, time.monotonic())
        except TimeoutError as error:
            raise CameraLost(f"sent no complete picture for {self._stream.read_timeout.seconds:g} s") from error
        except MalformedMessage as error:
            raise CameraLost(f"sends {error}") from error
        part = self._part = self._parts.complete.popleft()
        arrived = time.time() - (time.monotonic() - part.arrived_at)
        taken = part.captured_at if 0 <= arrived - part.captured_at <= _OLDEST else arrived
        self._arrival = ArrivedFrame(taken, part.arrived_at, superseded=bool(self._parts.complete))
        return self._arrival

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


@dataclass(frozen=True)
class JpegPart:
    """One JPEG. taken: Unix time by the camera, 0 where it does not say; at: monotonic time at which it was here."""

    data: bytes
    captured_at: float
    arrived_at: float


class MultipartParser:
    """Splits a multipart stream into JPEGs, with or without Content-Length."""

    def __init__(self, boundary: str) -> None:
        self.complete: deque[JpegPart] = deque()
        # Some cameras give the boundary with leading dashes, some without.
        self._boundary = b"--" + boundary.lstrip("-").encode()
        self._begun = False
        self._head: MessageHead | None = None

    def read(self, buffer: bytearray, at: float) -> None:
        """Take the pictures that are complete off the front of `buffer`, which came until `arrived_at`.

        Raises:
            MalformedMessage: it is not such a stream.
        """
        while True:
            if self._head is None and not self._between(buffer):
                return
            head = self._head = self._head or take_headers(buffer)
            if head is None:
                return
            text = head.get("content-length")
            if text.isascii() and text.isdecimal() and 0 < int(text[:9]) <= _MAX_JPEG_BYTES:
                if len(buffer) < int(text[:9]):
                    return
                end = int(text[:9])
            else:
                end = buffer.find(b"\n" + self._boundary)
                if end < 0:
                    if len(buffer) > _MAX_JPEG_BYTES:
                        raise MalformedMessage("a picture without an end")
                    return
            data = bytes(buffer[:end])
            del buffer[:end]
            self._head, self._begun = None, False
            if data.startswith(b"\xff\xd8"):
                self.complete.append(JpegPart(data, _seconds(head.get("x-timestamp")), at))

    def _between(self, buffer: bytearray) -> bool:
        """Drop everything up to the boundary line; whether it was found."""
        if not self._begun:
            begin = buffer.find(self._boundary)
            # The rest of the line is empty, or the dashes of the last boundary.
            line = buffer.find(b"\n", begin) if begin >= 0 else -1
            if line < 0:
                if len(buffer) > LONGEST_HEAD:
                    raise MalformedMessage("no boundary between pictures")
                return False
            del buffer[: line + 1]
            self._begun = True
        return True


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
