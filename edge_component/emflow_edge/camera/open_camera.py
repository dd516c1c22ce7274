"""What every kind of camera is to the thread that reads it: frames that come, and that can be decoded or left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from emflow_edge.camera.frame import Image


@dataclass(frozen=True)
class ArrivedFrame:
    """A frame that has come but is not decoded yet.

    taken: Unix time at which the camera took it, or at which it came; at: monotonic time at which it was here whole;
    clock: the camera's own time stamp in seconds, None where there is none; key: it needs no other frame; spare: no
    other frame needs it; sound: all of it came, and all that it needs; newer: a newer one has come already.
    """

    captured_at: float
    arrived_at: float
    camera_clock: float | None = None
    key: bool = True
    disposable: bool = True
    intact: bool = True
    superseded: bool = False


class DecodedPicture(Protocol):
    """A decoded frame."""

    width: int
    height: int

    def image(self) -> Image:
        """Its pixels: uint8, height x width x 3, BGR."""

    def luma(self) -> Image:
        """Its brightness, perhaps of some of its pixels: uint8, rows x columns."""


class OpenCamera(Protocol):
    """An open camera. For one thread."""

    fps: float
    """Frames a second, where the camera says so; else 0."""

    def grab(self) -> ArrivedFrame:
        """Wait for the next frame.

        Raises:
            Lost: none will come.
        """

    def decode(self, *, alone: bool) -> list[tuple[ArrivedFrame, DecodedPicture]]:
        """Decode the frame that was grabbed last; the pictures that come of it, which may be of frames before it.

        Args:
            alone: nothing that follows will be decoded before the next key frame, so that nothing may be held back.

        Raises:
            Lost: it cannot be decoded, nor can those after it.
        """

    def close(self) -> None: ...
