"""What a source reports of its camera, and how it sees that a picture is frozen or black."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from emflow_edge.camera.frame import Image

# A picture is compared so often at most.
BETWEEN = 0.5
# Brightness by which a pixel has to change to count, and how many have to: an encoder's noise stays below, and the
# seconds of a clock in the picture are above.
_CHANGE, _CHANGED = 16, 4
# Brightness by which all pixels together have to change: a dimmed light.
_MEAN_CHANGE = 1.5
# In video black is 16 (or 0); a covered lens is a little above, with some noise.
_BLACK, _BLACK_SHARE = 40, 0.98


class HealthListener(Protocol):
    """Told by a source's thread what becomes of its camera; must not block. What begins is told once, until it ends."""

    def present(self, width: int, height: int, fps: float) -> None:
        """Frames come, of this size; again when the size changes. fps: 0 where the camera does not say."""

    def absent(self, reason: str) -> None:
        """No frames come, and why, in words without credentials; again when the reason changes."""

    def frozen(self) -> None:
        """The same picture has come for too long."""

    def black(self) -> None:
        """A black picture has come for too long."""

    def clear(self) -> None:
        """The picture is neither frozen nor black any more, or has gone."""


class NoHealthListener:
    """Nobody listens."""

    def present(self, width: int, height: int, fps: float) -> None: ...

    def absent(self, reason: str) -> None: ...

    def frozen(self) -> None: ...

    def black(self) -> None: ...

    def clear(self) -> None: ...


class PictureMonitor:
    """Looks at some of the pictures and tells what is wrong with them.

    Args:
        frozen_after, black_after: seconds; 0 never.
    """

    def __init__(self, frozen_after: float, black_after: float) -> None:
        self._frozen_after, self._black_after = frozen_after, black_after
        self._same: Image | None = None
        self._same_since = 0.0
        self._black_since: float | None = None
        self._looked = float("-inf")
        self.state = ""
        """`frozen`, `black`, or empty when all is well."""

    def is_due(self, at: float) -> bool:
        """Whether it is worth the look."""
        return at - self._looked >= BETWEEN and bool(self._frozen_after or self._black_after)

    def forget(self) -> None:
        """The camera went away; what comes next is looked at anew."""
        self._same, self._black_since, self.state = None, None, ""

    def look(self, luma: Image, at: float) -> None:
        """Look at a picture's brightness (uint8, rows x columns) of monotonic time `arrived_at`; `state` tells the outcome."""
        self._looked = at
        if np.count_nonzero(luma < _BLACK) < _BLACK_SHARE * luma.size:
            self._black_since = None
        elif self._black_since is None:
            self._black_since = at
        if self._same is None or _differ(self._same, luma):
            self._same, self._same_since = luma, at
        black, frozen = self._black_since, self._same_since
        if self._black_after and black is not None:
            # A black picture does not move either; that it is black says more.
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
