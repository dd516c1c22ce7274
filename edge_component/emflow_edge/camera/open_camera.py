"""The interface of an open camera: frames arrive, and each can be decoded or skipped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from emflow_edge.camera.frame import Image


@dataclass(frozen=True)
class ArrivedFrame:
    """A frame that has arrived but is not decoded yet.

    captured_at: Unix time of capture, or of arrival if the camera does not tell; arrived_at: monotonic time at which it
    was complete; delay: seconds between the two, 0 if the camera does not tell; camera_clock: time stamp of the camera
    in seconds, None without one; key: it can be decoded alone; disposable: no other frame needs it; intact: it is
    complete, and so are the frames that it needs; superseded: a newer frame has arrived already.
    """

    captured_at: float
    arrived_at: float
    camera_clock: float | None = None
    key: bool = True
    disposable: bool = True
    intact: bool = True
    superseded: bool = False
    delay: float = 0.0

    def without_clock(self) -> ArrivedFrame:
        """The same frame of a camera whose clock is wrong: captured when it arrived."""
        return replace(self, captured_at=self.captured_at + self.delay, delay=0.0, camera_clock=None)


class DecodedPicture(Protocol):
    """A decoded frame."""

    width: int
    height: int

    def image(self) -> Image:
        """Its pixels: uint8, height x width x 3, BGR."""

    def luma(self) -> Image:
        """Its brightness, possibly subsampled: uint8, rows x columns."""


class OpenCamera(Protocol):
    """An open camera. Not thread-safe."""

    fps: float
    """Frames a second; 0 if not known."""

    def grab(self) -> ArrivedFrame:
        """Wait for the next frame.

        Raises:
            CameraLost: no frame will come.
        """

    def decode(self, *, alone: bool) -> list[tuple[ArrivedFrame, DecodedPicture]]:
        """Decode the frame that was grabbed last; returns the decoded pictures, which may be of earlier frames.

        Args:
            alone: no other frame is decoded before the next key frame, so the decoder must not hold back pictures.

        Raises:
            CameraLost: this frame and the following ones cannot be decoded.
        """

    def close(self) -> None: ...
