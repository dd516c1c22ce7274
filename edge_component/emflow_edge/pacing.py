"""When to take the next frame: not before the agent is about to be free."""

from __future__ import annotations

# How much of a new measurement goes into the running mean and its deviation.
_WEIGHT = 0.125
# A request is on its way to the agent for about this long, and the agent must not wait for it.
_AHEAD = 0.0015


class RequestPacer:
    """When the next frame has to be taken to reach the agent just as it is done with the one before.

    Taken later, the agent would wait for it; taken at once, the frame would wait in the agent and grow old. All in
    seconds, moments on the monotonic clock. For use under the caller's lock.
    """

    def __init__(self) -> None:
        self._preparing = self._inferring = self._deviation = 0.0
        self._expected = self._answered = 0.0

    def frame_taken(self, now: float) -> None:
        """A frame was taken; it is prepared and sent next."""
        self._expected = max(now + self._preparing, self._expected) + self._inferring

    def answered(self, taken: float, sent: float, now: float, left: int) -> None:
        """The agent answered; so many requests are still with it."""
        self._preparing += _WEIGHT * (sent - taken - self._preparing)
        # What it took the agent itself, without the time that the request waited for the one before it.
        took = now - max(sent, self._answered)
        self._deviation += _WEIGHT * (abs(took - self._inferring) - self._deviation)
        self._inferring += _WEIGHT * (took - self._inferring) if self._inferring else took
        self._answered, self._expected = now, now + left * self._inferring

    @property
    def next_take_at(self) -> float:
        """When to take the next frame while the agent still works."""
        return self._expected - self._preparing - 2 * self._deviation - _AHEAD
