"""A frame of a camera, and the interface of a frame source."""

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
    """One frame.

    Args:
        image: uint8, height x width x 3, BGR; or a function that returns it, called at most once, on first use, so that
            a frame that is replaced costs no conversion. Not thread-safe.
        taken: Unix time of capture if the camera tells it, else of arrival. For people; durations are measured by the
            monotonic clock, since the other may be set at any time.
        at: when its last byte arrived, on the monotonic clock.
        number: its number among the frames of the camera, from 1.
        delay: seconds from its capture to its arrival, as far as the camera tells.
    """

    def __init__(
        self, image: Image | Callable[[], Image], taken: float, at: float, number: int = 0, delay: float = 0.0
    ) -> None:
        self._image = image
        self.captured_at = taken
        self.arrived_at = at
        self.captured_monotonic = at - delay
        self.number = number

    @property
    def image(self) -> Image:
        if not isinstance(self._image, np.ndarray):
            self._image = self._image()
        return self._image


class FrameSource(Protocol):
    """The source of the frames of a stream."""

    frames: LatestSlot[Frame]
    cadence: Cadence
    """Shared with the consumer, which marks frames as taken."""

    def start(self) -> None: ...

    def join(self, timeout: float) -> bool:
        """Wait for its thread; whether it has ended."""
