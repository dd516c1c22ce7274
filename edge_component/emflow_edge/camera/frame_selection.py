"""Which of a camera's frames have to be decoded: all, key frames only, or none until the next one will be wanted.

Each frame of H.264 and H.265 needs those before it, back to the last key frame. So what need not be decoded are whole
stretches from one key frame to the next. Inference that is wanted less often than key frames come needs nothing but
key frames; a model that is busy for longer than such a stretch needs only those in which it will ask for a frame.
"""

from __future__ import annotations

import enum
import math
from collections import deque

from emflow_edge.cadence import Cadence
from emflow_edge.camera.open_camera import ArrivedFrame

# A stretch counts as no longer than the time between two wanted frames with this much jitter.
_JITTER = 1.05
# How much of a stretch before the moment at which the next frame will be asked for it may be asked for already.
_SOONER = 0.25
# Seconds after which a stream without any key frame is decoded from where it is: some only refresh bit by bit.
_IMPATIENT = 5.0


class DecodeDecision(enum.Enum):
    """What becomes of a frame: left; decoded; or decoded as the only one of its stretch."""

    SKIP = 0
    DECODE = 1
    DECODE_ALONE = 2


class FrameSelector:
    """Decides frame by frame. All times are monotonic; for one thread."""

    def __init__(self, cadence: Cadence) -> None:
        self._cadence = cadence
        cadence.early_tolerance = 0.0
        self._chained = self._sparse = False
        self._first = 0.0
        # Of the last key frame: when it came, by the camera's clock, and as the how many-th frame.
        self._key_at = self._key_clock = 0.0
        self._key_number = 0
        self._keys = 0
        self._seconds: deque[float] = deque(maxlen=3)
        self._frames: deque[int] = deque(maxlen=2)

    def restart(self) -> None:
        """Begin anew with the next key frame."""
        self._chained = False

    def decide(self, arrival: ArrivedFrame, number: int, expected_next_take: float) -> DecodeDecision:
        """Decide about the camera's frame `number`.

        Args:
            arrival: the frame.
            number: of the frames that came, from 1.
            next_asked: when the next frame will be asked for; in the past when it is waited for, infinite when that
                cannot be told.
        """
        self._first = self._first or arrival.arrived_at
        if arrival.key:
            self._meet_key(arrival, number)
        if not arrival.intact:
            self._chained = False
            return DecodeDecision.SKIP
        wanted = self._cadence.is_due(arrival.arrived_at, number)
        waiting = expected_next_take <= arrival.arrived_at
        if self._sparse and not (wanted and (self._chained or not waiting)):
            self._chained = False
            return DecodeDecision.DECODE_ALONE if arrival.key and wanted else DecodeDecision.SKIP
        if self._ends_before(expected_next_take):
            self._chained = False
            return DecodeDecision.SKIP
        if arrival.key or (not self._keys and arrival.arrived_at - self._first > _IMPATIENT):
            self._chained = True
        if not self._chained or (arrival.disposable and not wanted and not arrival.key):
            return DecodeDecision.SKIP
        return DecodeDecision.DECODE

    def _meet_key(self, arrival: ArrivedFrame, number: int) -> None:
        clock = arrival.arrived_at if arrival.camera_clock is None else arrival.camera_clock
        if self._keys and clock > self._key_clock:
            self._seconds.append(clock - self._key_clock)
            self._frames.append(number - self._key_number)
        self._keys += 1
        self._key_at, self._key_clock, self._key_number = arrival.arrived_at, clock, number
        cadence, length = self._cadence, max(self._seconds, default=0.0)
        # A frame that is due while the model is still busy must be the newest when it asks, so all are decoded then.
        self._sparse = 0 < length <= cadence.every * _JITTER and not cadence.frames
        # The key frame nearest to when one is due will do.
        cadence.early_tolerance = length / 2 if self._sparse else 0.0

    def _ends_before(self, expected_next_take: float) -> bool:
        """Whether the next key frame will come before a frame is wanted."""
        if not self._seconds:
            return False
        if self._cadence.frames and self._frames[0] == self._frames[-1]:
            due = self._key_number + self._frames[-1] <= self._cadence.next_number
        else:
            due = False
        length = max(self._seconds)
        return due or self._key_at + length * (1 + _SOONER) <= expected_next_take < math.inf


# Tells frames that waited in a buffer from those that have just come, by the camera's own time stamps.


# Seconds that a frame has to be less behind than the one before to have waited; half a frame interval at 60 a second.
_CATCHING_UP = 0.008
# Silence after which what comes may have waited; and how many usual intervals it has to last for a slow camera.
_SILENCE, _INTERVALS = 1.0, 3.0
# Seconds behind the best of late at which decoding counts as too slow, and by which a time stamp that jumps is known.
_BEHIND, _JUMP = 0.5, 10.0
# A camera's clock may run slower than ours; more than any does.
_DRIFT = 0.001


class LiveFrameDetector:
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
        """Whether a frame with this time stamp, here at `arrived_at` (both in seconds), came as it was made.

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
