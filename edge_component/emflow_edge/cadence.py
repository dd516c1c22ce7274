"""Which of a camera's frames are wanted: one every so many seconds, every n-th, or as many as can be had.

A source and the loop that takes its frames share one cadence, so that the source knows which frames need not even be
decoded. Moments are on the monotonic clock; numbers count the frames that the camera delivered, from 1.
"""

from __future__ import annotations


class Cadence:
    """When the next frame is wanted, without catching up on what was missed.

    Args:
        every: seconds between two frames; 0 is as often as it goes.
        frames: with n above 0, every n-th frame of the camera instead.
    """

    def __init__(self, every: float, frames: int = 0) -> None:
        self.every, self.frames = every, frames
        self.next_due = 0.0
        self.next_number = 0
        self.early_tolerance = 0.0
        """Seconds before its time that a frame will do, where the source has no nearer one to offer."""

    def change(self, every: float, frames: int = 0) -> None:
        """Another cadence, from now on: the next frame is due at once."""
        self.every, self.frames = every, frames
        self.next_due, self.next_number, self.early_tolerance = 0.0, 0, 0.0

    def is_due(self, at: float, number: int = 0) -> bool:
        """Whether a frame that came at `at` as the camera's frame `next_number` is due."""
        return number >= self.next_number if self.frames else at >= self.next_due - self.early_tolerance

    def mark_taken(self, at: float, number: int = 0) -> None:
        """A frame that was due has been taken."""
        if self.frames:
            # Exactly every n-th while that is kept.
            kept = (self.next_number or number) + self.frames
            self.next_number = kept if kept > number else number + self.frames
            return
        # On the old grid while it is kept, so that the rate is exact; a new grid after a gap.
        due = self.next_due + self.every
        self.next_due = due if due > at else at + self.every
