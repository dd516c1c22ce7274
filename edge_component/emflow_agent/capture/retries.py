"""Trouble that lasts: a line in the log when it begins and when it is over, and pauses between tries that grow."""

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
"""Seconds between two lines about the same kind of trouble, for one that comes and goes."""

# Of a call stack in a line: the innermost ones.
FRAMES_SHOWN = 3


class ProblemLog:
    """Trouble that may come many times a second for days: told when it begins and when it is over, but not too often.

    clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told = ""
        self._told_at: dict[str, float] = {}

    def report(self, kind: str, text: str, level: int = logging.WARNING) -> None:
        """It is there. Told where this kind was not told before, or is back, and was last told long enough ago."""
        now = self._clock()
        if kind == self._told or now - self._told_at.get(kind, -math.inf) < QUIET_SECONDS:
            log.debug("captured data: %s", text)
            return
        if len(self._told_at) > 20:  # words of S3's, which may be new each time
            self._told_at.clear()
        self._told, self._told_at[kind] = kind, now
        log.log(level, "captured data: %s", text)

    def resolved(self, text: str = "") -> None:
        """It is not there. Told, if there is a text, when its beginning was."""
        if self._told and text:
            log.info("captured data: %s", text)
        self._told = ""


def describe_unexpected(error: BaseException) -> str:
    """What nobody expected, for the log: its type and where it came from. Its text may hold a secret."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_SHOWN:]
    places = ", ".join(f"{Path(frame.filename).name} line {frame.lineno}" for frame in reversed(frames))
    return f"unforeseen {type(error).__name__} ({places})"


class RetryPause:
    """Waits between tries: from `first` to `longest` seconds, doubled each time, each cut by up to half at random.

    At random, because a fleet that lost its network loses and finds it together.
    """

    def __init__(self, first: float = 1.0, longest: float = 60.0) -> None:
        self._first, self._longest = first, longest
        self._next = first
        self._ended = threading.Event()

    def wait(self, at_least: float = 0.0) -> bool:
        """Wait; True when it is time to end instead."""
        pause = self._next * random.uniform(0.5, 1.0)  # noqa: S311 only to part those who collided
        self._next = min(2 * self._next, self._longest)
        return self._ended.wait(max(pause, at_least))

    def reset(self) -> None:
        """It went well: the next pause is short again."""
        self._next = self._first

    def stop(self) -> None:
        """No more waiting, for anybody."""
        self._ended.set()

    @property
    def stopped(self) -> bool:
        return self._ended.is_set()
