"""H.264 and H.265 decoded by libavcodec (PyAV): one thread and low delay, since frame threads hold pictures back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from emflow_edge.opencv import LARGEST_PICTURE

if TYPE_CHECKING:
    from emflow_edge.camera.frame import Image

try:
    import av
except ImportError:  # not on every board
    av = None  # type: ignore[assignment]

AVAILABLE = av is not None
_CODECS = {"H264": "h264", "H265": "hevc"}
# Subsampling in both directions is enough to detect whether a picture changes.
_STEP = 8


class UndecodableFrame(Exception):
    """The bytes cannot be decoded."""


class PyavPicture:
    """A decoded frame; it is converted to BGR only when `image` is called."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self.width, self.height = int(frame.width), int(frame.height)

    def image(self) -> Image:
        """uint8, height x width x 3, BGR."""
        return np.asarray(self._frame.to_ndarray(format="bgr24"), np.uint8)

    def luma(self) -> Image:
        """Brightness of every 8th pixel of every 8th row; uint8."""
        plane = self._frame.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        return rows[: self.height : _STEP, : self.width : _STEP].copy()


class PyavDecoder:
    """The decoder of one stream.

    Args:
        codec: `H264` or `H265`.
        parameter_sets: with start codes, from the description of the stream.
    """

    def __init__(self, codec: str, parameter_sets: bytes) -> None:
        self._context: Any = av.CodecContext.create(_CODECS[codec], "r")
        self._context.thread_count = 1
        self._context.options = {"flags": "low_delay", "max_pixels": str(LARGEST_PICTURE)}
        if parameter_sets:
            self._context.extradata = parameter_sets

    def decode(self, data: bytes, number: int) -> list[tuple[int, PyavPicture]]:
        """Decode the bytes of one picture; returns decoded pictures with the numbers that were given with them.

        Raises:
            UndecodableFrame: they cannot be decoded.
        """
        packet = av.Packet(data)
        packet.pts = number
        return self._run(packet)

    def restart(self) -> None:
        """Reset the decoder. The next frame must be a key frame."""
        self._context.flush_buffers()

    def drain(self) -> list[tuple[int, PyavPicture]]:
        """Return pictures that the decoder still holds. The next frame must be a key frame."""
        pictures = self._run(None)
        self.restart()
        return pictures

    def _run(self, packet: Any) -> list[tuple[int, PyavPicture]]:
        try:
            frames = self._context.decode(packet)
        except av.FFmpegError as error:
            raise UndecodableFrame(str(error)) from error
        return [(frame.pts, PyavPicture(frame)) for frame in frames if frame.pts is not None]
