"""HTTP cameras with an MJPEG stream (multipart/x-mixed-replace)."""

from __future__ import annotations

import re
import threading
import time

import numpy as np

from emflow_edge.camera.http_request import HttpAnswer, HttpRequest
from emflow_edge.camera.multipart import ChunkedBody, MultipartParser
from emflow_edge.camera.open_camera import ArrivedFrame, DecodedPicture
from emflow_edge.camera.opencv_camera import ArrayPicture
from emflow_edge.opencv import cv2
from emflow_edge.rtsp.auth import OriginCredentials
from emflow_edge.rtsp.errors import CameraLost
from emflow_edge.rtsp.messages import MalformedMessage
from emflow_edge.rtsp.notices import Notice, no_notice
from emflow_schema.edge_config import Stream

_BOUNDARY = re.compile(r'boundary\s*=\s*"?([^";,\s]+)', re.IGNORECASE)
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
        self._stream = stream
        self._chunks: ChunkedBody | None = None
        own = OriginCredentials(stream.place, *credentials)
        asked = HttpRequest(stream.place, own, stream.ca or "", stream.open_timeout.seconds, stop, notice)
        answer = asked.answer()
        self._wire = answer.wire
        try:
            self._parts = MultipartParser(self._accept(answer, notice), notice)
        except BaseException:
            self.close()
            raise
        self._decoded_at = time.monotonic()

    def _accept(self, answer: HttpAnswer, notice: Notice) -> str:
        """The boundary that an answer names. Some cameras name none, or no type, and send pictures all the same."""
        head = answer.head
        kind, boundary = head.get("content-type"), _BOUNDARY.search(head.get("content-type"))
        if kind and not _KIND.match(kind):
            raise CameraLost("does not send an MJPEG stream (multipart/x-mixed-replace)")
        if "chunked" in head.get("transfer-encoding").lower():
            if answer.protocol == "HTTP/1.0":
                notice("answers HTTP/1.0 in chunks; the pictures are taken out of them")
            self._chunks = ChunkedBody()
        return boundary.group(1) if boundary else ""

    def grab(self) -> ArrivedFrame:
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
        self._wire.close()
