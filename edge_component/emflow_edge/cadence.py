"""Which frames are due: one every so many seconds, every n-th frame, or all.

A frame source and its consumer share one cadence, so that the source knows which frames need not be decoded. Times are
on the monotonic clock; frame numbers count the frames of the camera, from 1.
"""

from __future__ import annotations


class Cadence:
    """When the next frame is due. Missed frames are not caught up.

    Args:
        every: seconds between two frames; 0: all frames.
        frames: if n > 0, every n-th frame of the camera instead.
    """

    def __init__(self, every: float, frames: int = 0) -> None:
        self.every, self.frames = every, frames
        self.next_due = 0.0
        self.next_number = 0
        self.early_tolerance = 0.0
        """A frame is accepted so many seconds early, when the source has no frame nearer to the due time."""

    def change(self, every: float, frames: int = 0) -> None:
        """Change the cadence; the next frame is due at once."""
        self.every, self.frames = every, frames
        self.next_due, self.next_number, self.early_tolerance = 0.0, 0, 0.0

    def is_due(self, at: float, number: int = 0) -> bool:
        """Whether a frame that came at `at` as the camera's frame `next_number` is due."""
        return number >= self.next_number if self.frames else at >= self.next_due - self.early_tolerance

    def mark_taken(self, at: float, number: int = 0) -> None:
        """A due frame was taken."""
        if self.frames:
            # Exactly every n-th frame, as long as none is missed.
            kept = (self.next_number or number) + self.frames
            self.next_number = kept if kept > number else number + self.frames
            return
        # Fixed intervals, so that the rate is exact; after a gap they start again.
        due = self.next_due + self.every
        self.next_due = due if due > at else at + self.every
