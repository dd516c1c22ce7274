"""A frame of a camera, and what a source of frames is to the loop that takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Protocol

import numpy as np

from emflow_edge.cadence import Cadence
from emflow_edge.latest_slot import LatestSlot

if TYPE_CHECKING:
    # Not at run time: NumPy before 1.21, which board images have, has no NDArray.
    import numpy.typing as npt

    Image = npt.NDArray[np.uint8]


class Frame:
    """One picture.

    Args:
        image: uint8, height x width x 3, BGR; or what makes it, called once and only when somebody looks. A frame that
            a newer one replaces costs no conversion. For use by one thread at a time.
        taken: Unix time at which the camera took it, where the camera tells; else at which it was here.
        at: when its last byte was here, on the monotonic clock.
        number: of the camera's frames it is this one, from 1.
    """

    def __init__(self, image: Image | Callable[[], Image], taken: float, at: float, number: int = 0) -> None:
        self._image = image
        self.captured_at = taken
        self.arrived_at = at
        self.number = number

    @property
    def image(self) -> Image:
        if not isinstance(self._image, np.ndarray):
            self._image = self._image()
        return self._image


class FrameSource(Protocol):
    """Where a stream's frames come from."""

    frames: LatestSlot[Frame]
    cadence: Cadence
    """Shared with whoever takes the frames, who says there what was taken."""

    def start(self) -> None: ...

    def join(self, timeout: float) -> bool:
        """Wait for its thread to end; whether it has."""
