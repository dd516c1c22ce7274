"""What holds up publishing, as it is told: one line for each topic, and the status whenever it changes."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)


class Trouble:
    """Remembers what was told. For one thread.

    Args:
        failing: called with why messages cannot be sent, and with an empty text when they can again.
    """

    def __init__(self, failing: Callable[[str], object]) -> None:
        self._failing = failing
        self._refused: dict[str, str] = {}
        self._unheard: set[str] = set()
        self._told: str | None = None

    def tell(self, why: str) -> None:
        if why != self._told:
            self._told = why
            self._failing(why)

    def delivered(self, topic: str) -> None:
        """A topic takes messages; what holds up another one stays told."""
        self._refused.pop(topic, None)
        self.tell(next(iter(self._refused.values()), ""))

    def results_refused(self, topic: str, why: str) -> None:
        if topic not in self._refused:
            log.warning("results cannot be published: %s is refused: %s", topic, why)
        self._refused[topic] = why
        self.tell(why)

    def others_refused(self, topic: str, why: str) -> None:
        """The same of status and metrics, which hold up nothing."""
        if topic not in self._unheard:
            self._unheard.add(topic)
            log.warning("status or metrics cannot be published: %s is refused: %s", topic, why)
