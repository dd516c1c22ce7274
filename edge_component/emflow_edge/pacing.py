"""Decides when to take the next frame: just before the agent becomes free."""

from __future__ import annotations

# Weight of a new measurement in the running mean and its deviation.
_WEIGHT = 0.125
# Seconds that a request needs to reach the agent.
_AHEAD = 0.0015


class RequestPacer:
    """Computes when to take the next frame so that it reaches the agent when the previous one is finished.

    If it is taken later, the agent waits; if it is taken at once, the frame waits in the agent and gets old. All times
    are in seconds on the monotonic clock. Not thread-safe: used under the lock of the pipeline.
    """

    def __init__(self) -> None:
        self._preparing = self._inferring = self._deviation = 0.0
        self._expected = self._answered = 0.0

    def frame_taken(self, now: float) -> None:
        """A frame was taken; it is preprocessed and sent next."""
        self._expected = max(now + self._preparing, self._expected) + self._inferring

    def answered(self, taken: float, sent: float, now: float, left: int) -> None:
        """The agent answered; `left` requests are still in progress."""
        self._preparing += _WEIGHT * (sent - taken - self._preparing)
        # The inference time alone, without the time that the request waited for the previous one.
        took = now - max(sent, self._answered)
        self._deviation += _WEIGHT * (abs(took - self._inferring) - self._deviation)
        self._inferring += _WEIGHT * (took - self._inferring) if self._inferring else took
        self._answered, self._expected = now, now + left * self._inferring

    @property
    def next_take_at(self) -> float:
        """When to take the next frame while the agent is busy."""
        return self._expected - self._preparing - 2 * self._deviation - _AHEAD
