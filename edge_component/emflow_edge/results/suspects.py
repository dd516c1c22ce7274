"""Messages with which a connection breaks, and topics that are not sent for a while because of it.

With MQTT 3.1.1 a broker can refuse a message only by ending the connection, as AWS IoT does for a message that is too
large, or a topic that the policy does not allow. Sent again after each reconnect, such a message would break every
connection. So a message that was under way twice when the connection broke is set aside, and after two such messages of
a topic it gets no more for a time that doubles; what shows that the topic works is a delivery of that size there, and
not of another message.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

_BREAKS = 2
"""Times that a connection may break with a message under way."""
_CAREFUL_SECONDS = 30.0
_MOST_REMEMBERED = 256
_FAILURES, _FIRST_BLOCK, _LONGEST_BLOCK = 2, 10.0, 600.0


@dataclass
class _Suspect:
    """breaks: times that the connection broke with it; refused: what had been delivered when it was refused, or -1;
    at: monotonic seconds."""

    breaks: int = 0
    refused: int = -1
    at: float = 0.0


@dataclass
class _Topic:
    """failures: messages that were set aside since one of at least `least` bytes was delivered; delivered: the bytes of
    the largest one that was."""

    failures: int = 0
    least: int = 0
    delivered: int = 0
    blocked_until: float = 0.0


class Suspects:
    """Not thread-safe.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._suspects: OrderedDict[Hashable, _Suspect] = OrderedDict()
        self._topics: dict[str, _Topic] = {}
        self._delivered = 0

    @property
    def careful(self) -> bool:
        """Whether messages are sent one at a time, to see with which of them the connection breaks."""
        oldest = self._clock() - _CAREFUL_SECONDS
        return any(one.breaks and one.at > oldest for one in self._suspects.values())

    def broke_with(self, message: Hashable, topic: str, size: int) -> bool:
        """The connection broke while this message was under way; whether it is to be set aside."""
        suspect = self._suspect(message)
        suspect.breaks += 1
        if suspect.breaks < _BREAKS:
            return False
        self._set_aside(message, topic, size)
        return True

    def broke_after(self, topic: str, size: int) -> None:
        """The connection broke right after a message that nobody acknowledges."""
        self._set_aside(None, topic, size)

    def refused(self, message: Hashable, topic: str, size: int) -> bool:
        """This message was refused for now; whether it is to be set aside, because others were delivered since the last
        time."""
        suspect = self._suspect(message)
        if not 0 <= suspect.refused < self._delivered:
            suspect.refused = self._delivered if suspect.refused < 0 else suspect.refused
            return False
        self._set_aside(message, topic, size)
        return True

    def delivered(self, message: Hashable, topic: str, size: int) -> None:
        self._delivered += 1
        self._suspects.pop(message, None)
        known = self._topics.setdefault(topic, _Topic())
        known.delivered = max(known.delivered, size)
        if size >= known.least:
            known.failures, known.blocked_until = 0, 0.0

    def gone(self, message: Hashable) -> None:
        """This message will not be sent again."""
        self._suspects.pop(message, None)

    def blocks(self, topic: str, size: int) -> bool:
        """Whether a message is not to be sent now."""
        known = self._topics.get(topic)
        return known is not None and size >= known.least and self._clock() < known.blocked_until

    def _suspect(self, message: Hashable) -> _Suspect:
        suspect = self._suspects.setdefault(message, _Suspect())
        suspect.at = self._clock()
        if len(self._suspects) > _MOST_REMEMBERED:
            self._suspects.popitem(last=False)
        return suspect

    def _set_aside(self, message: Hashable, topic: str, size: int) -> None:
        self._suspects.pop(message, None)
        known = self._topics.setdefault(topic, _Topic())
        # Where smaller ones were delivered, it is the size; the limit lies anywhere between.
        least = (known.delivered + size) // 2 if 0 < known.delivered < size else 0
        known.least = min(known.least, least) if known.failures else least
        known.failures += 1
        if known.failures >= _FAILURES:
            block = min(_LONGEST_BLOCK, _FIRST_BLOCK * 2 ** min(10, known.failures - _FAILURES))
            known.blocked_until = self._clock() + block
