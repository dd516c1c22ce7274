"""Logs refused calls: the first ones at once, then how many more there were.

Many clients show the status code only, so the reason has to be in the agent's log. A client that goes on calling must
not fill the log: what it can cause is a few lines a minute.
"""

from __future__ import annotations

import contextlib
import logging
import threading

import grpc

log = logging.getLogger(__name__)

PERIOD = 60.0
"""Seconds after which a reason is logged again, and until which further refusals are counted."""

MAX_TEXTS = 5
"""Different reasons that are logged in one period, of one call with one status code."""


class _Seen:
    """What was logged for one call and status code in this period, and the number of refusals that were not."""

    def __init__(self) -> None:
        self.texts: set[str] = set()
        self.more = 0
        self.last = ""


class RefusedCalls:
    """The log of refused calls. Thread-safe.

    Args:
        period: seconds; see PERIOD.
    """

    def __init__(self, period: float = PERIOD) -> None:
        self._period = period
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._timer: threading.Timer | None = None

    def report(self, call: str, code: grpc.StatusCode, text: str) -> None:
        """A call was refused. Logged now, or counted in a line at the end of the period."""
        # The client of a cancelled call does not wait for the answer.
        level = (
            logging.DEBUG
            if code is grpc.StatusCode.CANCELLED or self._is_counted(call, code, text)
            else logging.WARNING
        )
        log.log(level, "%s: %s: %s", call, code.name, text)

    def malformed(self, call: str, text: str) -> None:
        """The request of a call was no message of its type."""
        self.report(call, grpc.StatusCode.INVALID_ARGUMENT, text)

    def close(self) -> None:
        """Log the counts of the current period."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
        self._end_period()

    def _is_counted(self, call: str, code: grpc.StatusCode, text: str) -> bool:
        with self._lock:
            seen = self._seen.setdefault((call, code.name), _Seen())
            if text not in seen.texts and len(seen.texts) < MAX_TEXTS:
                seen.texts.add(text)
                counted = False
            else:
                seen.more, seen.last = seen.more + 1, text
                counted = True
            if self._timer is None:
                self._timer = threading.Timer(self._period, self._end_period)
                self._timer.name, self._timer.daemon = "refused calls", True
                with contextlib.suppress(RuntimeError):  # no more threads: the counts are logged at the end
                    self._timer.start()
            return counted

    def _end_period(self) -> None:
        with self._lock:
            ended, self._seen, self._timer = self._seen, {}, None
        for (call, code), seen in ended.items():
            if seen.more:
                log.warning("%s: %s: %d more calls like this; the last: %s", call, code, seen.more, seen.last)
