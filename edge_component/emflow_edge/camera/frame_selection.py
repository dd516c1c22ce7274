"""Which frames of a camera are decoded (`FrameSelector`), and which of them are live (`LiveFrameDetector`).

A frame of H.264 and H.265 needs all frames since the last key frame. So only a whole group of pictures (GOP, from one
key frame to the next) can be skipped. If inference runs less often than key frames come, key frames are enough; if the
model is busy for longer than a GOP, only the GOPs in which it takes a frame are decoded. A frame that waited in a
buffer is not live; the time stamps of the camera tell it apart.
"""

from __future__ import annotations

import enum
import math
from collections import deque

from emflow_edge.cadence import Cadence
from emflow_edge.camera.open_camera import ArrivedFrame

# Tolerated jitter when the length of a GOP is compared with the time between two due frames.
_JITTER = 1.05
# The next frame may be taken earlier than expected by this part of a GOP.
_SOONER = 0.25
# Seconds after which a stream without key frames is decoded anyway: some cameras use gradual refresh.
_IMPATIENT = 5.0


class DecodeDecision(enum.Enum):
    """Skip the frame, decode it, or decode it as the only one of its GOP."""

    SKIP = 0
    DECODE = 1
    DECODE_ALONE = 2


class FrameSelector:
    """Decides for each frame. All times are monotonic. Not thread-safe."""

    def __init__(self, cadence: Cadence) -> None:
        self.sends_bursts = False
        """Whether only the last frames of each burst are live: then all frames up to them are decoded."""
        self._cadence = cadence
        cadence.early_tolerance = 0.0
        self._chained = self._sparse = False
        self._first = 0.0
        # Of the last key frame: arrival time, time of the camera, and frame number.
        self._key_at = self._key_clock = 0.0
        self._key_number = 0
        self._keys = 0
        self._seconds: deque[float] = deque(maxlen=3)
        self._frames: deque[int] = deque(maxlen=2)

    def restart(self) -> None:
        """Skip frames up to the next key frame."""
        self._chained = False

    def decide(self, arrival: ArrivedFrame, number: int, expected_next_take: float) -> DecodeDecision:
        """Decide about frame `number`.

        Args:
            arrival: the frame.
            number: of the frame, from 1.
            expected_next_take: when the next frame will be taken; in the past while the consumer waits, infinite when
                it
                is not known.
        """
        self._first = self._first or arrival.arrived_at
        if arrival.key:
            self._meet_key(arrival, number)
        if not arrival.intact:
            self._chained = False
            return DecodeDecision.SKIP
        wanted = self._cadence.is_due(arrival.arrived_at, number)
        waiting = expected_next_take <= arrival.arrived_at
        if self._sparse and not self.sends_bursts and not (wanted and (self._chained or not waiting)):
            self._chained = False
            return DecodeDecision.DECODE_ALONE if arrival.key and wanted else DecodeDecision.SKIP
        if not self.sends_bursts and self._ends_before(expected_next_take):
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
        # A frame that becomes due while the model is busy must be the newest when it is taken, so all are decoded then.
        self._sparse = 0 < length <= cadence.every * _JITTER and not cadence.frames
        # The key frame nearest to the due time is accepted.
        cadence.early_tolerance = length / 2 if self._sparse else 0.0

    def _ends_before(self, expected_next_take: float) -> bool:
        """Whether the next key frame will come before the next frame is needed."""
        if not self._seconds:
            return False
        if self._cadence.frames and self._frames[0] == self._frames[-1]:
            due = self._key_number + self._frames[-1] <= self._cadence.next_number
        else:
            due = False
        length = max(self._seconds)
        return due or self._key_at + length * (1 + _SOONER) <= expected_next_take < math.inf


# Seconds by which a frame has to be less late than the previous one to have been buffered: half an interval at 60 fps.
_CATCHING_UP = 0.008
# After so many seconds without a frame (or usual intervals, for a slow camera) the next one may have been buffered.
_SILENCE, _INTERVALS = 1.0, 3.0
# Seconds of delay, relative to the least recent delay, at which decoding is too slow; and at which a time stamp jumped.
_BEHIND, _JUMP = 0.5, 10.0
# Upper bound of the drift between the clock of the camera and ours.
_DRIFT = 0.001
# Seconds after which frames that seem to come from a buffer, and frames that seem to be late, show that the camera's
# clock is wrong: a buffer is empty by then, and frames up to the next key frame are skipped.
_LONGEST_BACKLOG, _LONGEST_DELAY = 3.0, 5.0
# After so many pauses with no live frame between them, a camera sends its frames in bursts; after so many pauses more,
# with no burst whose delay was that of an earlier one, its clock is wrong.
_BURSTS, _CLOCK_IS_WRONG = 2, 4
# A clock that was wrong is right again when it keeps pace for so many seconds, with this relative error.
_PROBATION, _PACE_ERROR = 20.0, 0.01


class LiveFrameDetector:
    """Detects whether frames are live or waited in a buffer.

    Buffered frames arrive faster than the camera made them, so their delay relative to the time stamp decreases; the
    delay of live frames is constant. This holds for a clock that keeps pace with time. A buffer is empty after a few
    seconds; when the delay goes on changing, it is the clock that is wrong, and the time stamps are not used any more.
    When pause after pause is followed by buffered frames only, the camera sends in bursts: the newest frame of each,
    whose delay is that of the last frame of recent bursts, is as live as there is one. Not thread-safe.
    """

    def __init__(self) -> None:
        self.clock_is_wrong = False
        """Whether the time stamps of the camera do not keep pace with time."""
        self.sends_bursts = False
        """Whether the camera sends in bursts, with pauses between them."""
        self._live_at = self._paused_at = 0.0
        # Pauses since the last live frame.
        self._pauses = 0
        # Delay of the last frame of recent bursts.
        self._ends: deque[float] = deque(maxlen=8)
        self._behind: float | None = None
        self._least: float | None = None
        self._live = False
        self._at = 0.0
        self._interval = 0.0
        # Since when frames have been late, by the clock of the camera.
        self._late_since: float | None = None
        # Where the trial of a wrong clock began: arrival and time stamp.
        self._trial = (0.0, 0.0)

    def is_live(self, stamp: float | None, at: float) -> bool:
        """Whether a frame with this time stamp, here at monotonic time `at` (both in seconds), came as it was made.

        The first frame does not count as live: nothing is known from it alone, and the next comes soon. Neither does
        the first one after a pause, which may have waited in the network or in the camera.
        """
        if stamp is None:
            return True
        since, self._at = (at - self._at if self._at else 0.0), at
        if since > max(_SILENCE, _INTERVALS * self._interval):
            self._pause(at)
        behind, before = at - stamp, self._behind
        self._behind = behind
        if self.clock_is_wrong:
            # Without a clock: what comes much faster than usual was buffered.
            self._live = self._live or (before is not None and since > self._interval / 2)
        else:
            self._live = self._live or (before is not None and before - behind < _CATCHING_UP)
        if self._live or not self.clock_is_wrong:
            self._interval += (since - self._interval) / (8 if self._interval else 1)
        least = behind if self._least is None else min(self._least + _DRIFT * since, behind)
        self._least = behind if behind - (least if before is None else before) > _JUMP else least
        interval = 0.0 if before is None else before - behind + since
        live = self._live or self._is_newest_of_burst(behind, interval)
        self._judge_bursts(stamp, at, live)
        self._judge_clock(stamp, at)
        return live or self._live

    def _pause(self, at: float) -> None:
        if self._behind is not None:
            self._ends.append(self._behind)
        self._pauses += 1
        self._behind, self._live, self._late_since, self._paused_at = None, False, None, at

    def _is_newest_of_burst(self, behind: float, interval: float) -> bool:
        """Whether no newer frame is likely to follow in this burst. interval: seconds between this frame and the
        previous one of the burst, by the camera. With a wrong clock it cannot be known."""
        if not self.sends_bursts or self.clock_is_wrong:
            return self.sends_bursts
        return bool(self._ends) and behind < max(self._ends) + max(interval / 2, _CATCHING_UP)

    def _judge_bursts(self, stamp: float, at: float, live: bool) -> None:
        """Detect that the camera sends in bursts; a pause alone, however long, does not show it."""
        self._live_at = self._live_at or at
        if live:
            self._live_at, self._pauses = at, 0
        if self.sends_bursts and self._pauses > _CLOCK_IS_WRONG:
            # No frame was the newest of its burst: the delay goes on changing.
            if not self.clock_is_wrong:
                self.clock_is_wrong, self._trial = True, (at, stamp)
        elif not self.sends_bursts and self._pauses >= _BURSTS and at - self._live_at > _LONGEST_BACKLOG:
            self.sends_bursts, self._live_at, self._pauses = True, at, 0
        elif at - self._paused_at > _LONGEST_BACKLOG:
            self.sends_bursts = False

    @property
    def is_behind(self) -> bool:
        """Whether the last frame was much later than recent frames, by the clock of the camera."""
        if self._behind is None or self._least is None or self.clock_is_wrong or self.sends_bursts:
            return False
        return self._behind - self._least > _BEHIND

    def _judge_clock(self, stamp: float, at: float) -> None:
        began, first = self._trial
        if self.clock_is_wrong:
            if at - began > _PROBATION:
                self.clock_is_wrong = abs(stamp - first - (at - began)) > _PACE_ERROR * (at - began)
                self._trial, self._least, self._late_since = (at, stamp), self._behind, None
        elif self._live and not self.is_behind:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = at
        elif at - self._late_since > (_LONGEST_DELAY if self._live else _LONGEST_BACKLOG):
            self.clock_is_wrong = self._live = True
            self._trial = (at, stamp)
