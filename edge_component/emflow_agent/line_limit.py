"""Limits how often one place in the code may log, so that no client can fill the disk of a device with lines."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

PERIOD = 60.0
MAX_LINES = 60
"""Lines of one place in PERIOD seconds; the number of those left out is added to its next line."""

_MAX_PLACES = 1000

# Its lines come by the clock, as often as the settings say; no client can cause more of them.
_UNLIMITED = "emflow_agent.metrics"


class LineLimit(logging.Filter):
    """A filter for a handler. Lines at debug level are not limited: somebody asked for all of them.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        # By place: the beginning of its period, the lines in it.
        self._places: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is logged. A handler calls it without its lock; counts may be off by a few lines."""
        if record.levelno < logging.INFO or record.name == _UNLIMITED:
            return True
        place, now = (record.pathname, record.lineno), self._clock()
        began, lines = self._places.get(place, (now, 0))
        left_out = max(lines - MAX_LINES, 0)
        if now - began >= PERIOD:
            began, lines = now, 0
            if left_out:
                record.msg, record.args = (
                    f"{record.getMessage()} ({left_out} more lines of this kind were left out)",
                    (),
                )
        if len(self._places) >= _MAX_PLACES:
            self._places.clear()
        self._places[place] = began, lines + 1
        return lines < MAX_LINES
