"""RTSP cameras with H.264 or H.265, received by our own client and decoded by PyAV as soon as a frame is complete."""

from __future__ import annotations

import threading
import time
from collections import deque

from emflow_edge.camera import pyav_decoder
from emflow_edge.camera.open_camera import ArrivedFrame, DecodedPicture
from emflow_edge.camera.pyav_decoder import PyavDecoder, UndecodableFrame
from emflow_edge.rtsp.buffered_socket import tls_context
from emflow_edge.rtsp.client import RtspSession
from emflow_edge.rtsp.depacketizer import AccessUnit, Depacketizer
from emflow_edge.rtsp.errors import CameraLost, CameraRefused
from emflow_edge.rtsp.notices import Notice, no_notice
from emflow_schema.edge_config import Stream

# More frames than a decoder may hold back (H.264 and H.265 allow 16).
_HELD = 32


class RtspPyavCamera:
    """Raises what `RtspSession` raises."""

    def __init__(
        self, stream: Stream, credentials: tuple[str, str], stop: threading.Event, notice: Notice = no_notice
    ) -> None:
        if not pyav_decoder.AVAILABLE:
            raise CameraRefused("cannot be decoded: PyAV is not installed (pip install av), which backend ffmpeg needs")
        place = stream.place
        context = tls_context(stream.ca or "") if place.scheme == "rtsps" else None
        self._timeout = stream.read_timeout.seconds
        self._session = RtspSession(
            place, stream.transport == "udp", credentials, context, stream.open_timeout.seconds, stop, notice
        )
        video = self._session.video
        self.fps = video.fps
        self._units = Depacketizer(video, notice)
        self._decoder = PyavDecoder(video.codec, video.parameter_sets)
        self._rate = video.rate
        self._pending: deque[AccessUnit] = deque()
        self._arrivals: dict[int, ArrivedFrame] = {}
        self._number = 0
        self._unit: AccessUnit | None = None
        self._decoded_at = time.monotonic()

    def grab(self) -> ArrivedFrame:
        since = time.monotonic()
        while not self._pending:
            for packet, at in self._session.receive(self._timeout, since):
                self._pending += self._units.push(packet, at)
        unit = self._unit = self._pending.popleft()
        self._number += 1
        arrived = time.time() - (time.monotonic() - unit.arrived_at)
        captured = self._session.clock.capture_time(unit.stamp, arrived)
        self._arrival = ArrivedFrame(
            captured_at=captured,
            arrived_at=unit.arrived_at,
            camera_clock=unit.stamp / self._rate,
            key=unit.key,
            disposable=unit.disposable,
            intact=unit.intact and (unit.key or unit.follows),
            superseded=bool(self._pending),
            delay=arrived - captured,
        )
        return self._arrival

    def decode(self, *, alone: bool) -> list[tuple[ArrivedFrame, DecodedPicture]]:
        assert self._unit is not None
        self._arrivals[self._number] = self._arrival
        try:
            found = self._decoder.decode(self._unit.data, self._number)
            if alone and not found:
                found = self._decoder.drain()
        except UndecodableFrame:
            if time.monotonic() - self._decoded_at > 2 * self._timeout:
                raise CameraLost("sends what cannot be decoded") from None
            self._decoder.restart()
            return []
        if found:
            self._decoded_at = time.monotonic()
        pictures: list[tuple[ArrivedFrame, DecodedPicture]] = [
            (self._arrivals[number], picture) for number, picture in found if number in self._arrivals
        ]
        for number in [number for number in self._arrivals if number <= self._number - _HELD]:
            del self._arrivals[number]
        return pictures

    def close(self) -> None:
        self._session.close()
