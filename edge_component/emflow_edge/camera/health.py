"""The health of a camera: the interface for listeners, and detection of frozen and black pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from emflow_edge.camera.frame import Image

# Minimum seconds between two checks.
BETWEEN = 0.5
# Minimum change of brightness of a pixel, and minimum number of changed pixels: above the noise of encoders, below the
# change of a clock in the picture.
_CHANGE, _CHANGED = 16, 4
# Minimum change of the mean brightness, as by a dimmed light.
_MEAN_CHANGE = 1.5
# Black is 16 or 0 in video; a covered lens is slightly brighter, with noise.
_BLACK, _BLACK_SHARE = 40, 0.98


class HealthListener(Protocol):
    """Called by the thread of a camera reader; must not block. Every state is reported once when it begins."""

    def present(self, width: int, height: int, fps: float) -> None:
        """Frames of this size arrive; called again when the size changes. fps: 0 if not known."""

    def absent(self, reason: str) -> None:
        """No frames arrive, with the reason, which has no credentials; called again when the reason changes."""

    def frozen(self) -> None:
        """The picture has not changed for too long."""

    def black(self) -> None:
        """The picture has been black for too long."""

    def clear(self) -> None:
        """The picture is no longer frozen or black, or the camera is absent."""


class NoHealthListener:
    """Ignores all reports."""

    def present(self, width: int, height: int, fps: float) -> None: ...

    def absent(self, reason: str) -> None: ...

    def frozen(self) -> None: ...

    def black(self) -> None: ...

    def clear(self) -> None: ...


class PictureMonitor:
    """Detects frozen and black pictures.

    Args:
        frozen_after, black_after: seconds; 0: never.
    """

    def __init__(self, frozen_after: float, black_after: float) -> None:
        self._frozen_after, self._black_after = frozen_after, black_after
        self._same: Image | None = None
        self._same_since = 0.0
        self._black_since: float | None = None
        self._looked = float("-inf")
        self.state = ""
        """`frozen`, `black`, or empty."""

    def is_due(self, at: float) -> bool:
        """Whether the next check is due."""
        return at - self._looked >= BETWEEN and bool(self._frozen_after or self._black_after)

    def forget(self) -> None:
        """Reset, when the camera is lost."""
        self._same, self._black_since, self.state = None, None, ""

    def look(self, luma: Image, at: float) -> None:
        """Look at a picture's brightness (uint8, rows x columns) of monotonic time `arrived_at`; `state` tells the
        outcome."""
        self._looked = at
        if np.count_nonzero(luma < _BLACK) < _BLACK_SHARE * luma.size:
            self._black_since = None
        elif self._black_since is None:
            self._black_since = at
        if self._same is None or _differ(self._same, luma):
            self._same, self._same_since = luma, at
        black, frozen = self._black_since, self._same_since
        if self._black_after and black is not None:
            # A black picture does not change either; `black` is more specific.
            self.state = "black" if at - black >= self._black_after else ""
        else:
            self.state = "frozen" if self._frozen_after and at - frozen >= self._frozen_after else ""


def _differ(one: Image, other: Image) -> bool:
    if one.shape != other.shape:
        return True
    change = np.abs(one.astype(np.int16) - other)
    return (
        int(np.count_nonzero(change > _CHANGE)) >= _CHANGED
        or abs(float(one.mean()) - float(other.mean())) > _MEAN_CHANGE
    )
