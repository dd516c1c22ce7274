"""Tells frames that waited in a buffer from those that have just come, by the camera's own time stamps."""

from __future__ import annotations

# Seconds that a frame has to be less behind than the one before to have waited; half a frame interval at 60 a second.
_CATCHING_UP = 0.008
# Silence after which what comes may have waited; and how many usual intervals it has to last for a slow camera.
_SILENCE, _INTERVALS = 1.0, 3.0
# Seconds behind the best of late at which decoding counts as too slow, and by which a time stamp that jumps is known.
_BEHIND, _JUMP = 0.5, 10.0
# A camera's clock may run slower than ours; more than any does.
_DRIFT = 0.001


class Lateness:
    """Frames that waited come faster than the camera made them, so how far each is behind its own time stamp falls from
    frame to frame; once they are live it stays.
    """

    def __init__(self) -> None:
        self._behind: float | None = None
        self._least: float | None = None
        self._live = False
        self._at = 0.0
        self._interval = 0.0

    def is_live(self, stamp: float | None, at: float) -> bool:
        """Whether a frame with this time stamp, here at `at` (both in seconds), came as it was made.

        The first frame counts as one that waited: nothing can be told from it alone, and the next is near. So does the
        first after a silence, which may have lain in the network or in the camera meanwhile.
        """
        if stamp is None:
            return True
        since, self._at = (at - self._at if self._at else 0.0), at
        if since > max(_SILENCE, _INTERVALS * self._interval):
            self._behind, self._live = None, False
        self._interval += (since - self._interval) / (8 if self._interval else 1)
        behind, before = at - stamp, self._behind
        self._behind = behind
        self._live = self._live or (before is not None and before - behind < _CATCHING_UP)
        least = behind if self._least is None else min(self._least + _DRIFT * since, behind)
        self._least = behind if behind - least > _JUMP else least
        return self._live

    @property
    def is_behind(self) -> bool:
        """Whether the last frame was here much later than frames of late, measured by the camera's clock."""
        return self._behind is not None and self._least is not None and self._behind - self._least > _BEHIND
