"""Lasting problems: a log line when one begins and when it is resolved, and growing pauses between retries."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)


QUIET_SECONDS = 600.0
"""Minimum seconds between two log lines about the same kind of problem."""

# The innermost frames of a stack, for one log line.
FRAMES_SHOWN = 3


class ProblemLog:
    """Logs a problem that may occur many times a second for days: when it begins and when it is resolved, not too
    often.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reported = ""
        self._reported_at: dict[str, float] = {}

    def report(self, kind: str, text: str, level: int = logging.WARNING) -> None:
        """The problem occurred. Logged when its kind is new or back, and not logged within QUIET_SECONDS."""
        now = self._clock()
        if kind == self._reported or now - self._reported_at.get(kind, -math.inf) < QUIET_SECONDS:
            log.debug("captured data: %s", text)
            return
        if len(self._reported_at) > 20:  # texts from S3, which may differ each time
            self._reported_at.clear()
        self._reported, self._reported_at[kind] = kind, now
        log.log(level, "captured data: %s", text)

    def resolved(self, text: str = "") -> None:
        """The problem is resolved. Logged with `text`, if its beginning was logged."""
        if self._reported and text:
            log.info("captured data: %s", text)
        self._reported = ""


def describe_unexpected(error: BaseException) -> str:
    """Type and location of an unexpected error, for the log; without its message, which may contain a secret."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_SHOWN:]
    locations = ", ".join(f"{Path(frame.filename).name} line {frame.lineno}" for frame in reversed(frames))
    return f"unexpected {type(error).__name__} ({locations})"


class RetryPause:
    """Pauses between retries: from `initial` to `maximum` seconds, doubled each time, shortened at random by up to
    half.

    Random, because the devices of a fleet lose and regain the network at the same time.
    """

    def __init__(self, initial: float = 1.0, maximum: float = 60.0) -> None:
        self._initial, self._maximum = initial, maximum
        self._next = initial
        self._ended = threading.Event()

    def wait(self, at_least: float = 0.0) -> bool:
        """Wait for the next pause, at least `at_least` seconds; True when stopped."""
        pause = self._next * random.uniform(0.5, 1.0)  # noqa: S311 only to spread the retries of a fleet
        self._next = min(2 * self._next, self._maximum)
        return self._ended.wait(max(pause, at_least))

    def reset(self) -> None:
        """Success: start again with the initial pause."""
        self._next = self._initial

    def stop(self) -> None:
        """End all current and future pauses."""
        self._ended.set()

    @property
    def stopped(self) -> bool:
        return self._ended.is_set()
