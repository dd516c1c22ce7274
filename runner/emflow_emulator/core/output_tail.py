"""The last lines that a script wrote: why it failed, for whoever has no log of the device."""

from __future__ import annotations

from collections import deque

from emflow.problems import printable
from emflow.workflow.redaction import redacted

MOST_LINES = 10
LONGEST_LINE = 300
"""Characters; of a longer line the end is left out."""


class OutputTail:
    """The last `MOST_LINES` lines of one script. Filled by several threads."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=MOST_LINES)

    def add(self, line: str) -> None:
        self._lines.append(line)

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines as they may be shown: without passwords and control characters, and none too long."""
        return tuple(_shortened(printable(redacted(line))) for line in tuple(self._lines))


def _shortened(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 1]}…"
