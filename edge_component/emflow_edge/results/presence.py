"""What a status topic says when the component is not there: on its way out, and as its last will."""

from __future__ import annotations

import json
from dataclasses import dataclass

from emflow_edge.results.sinks import Message
from emflow_edge.settings.publishing import Publishing
from emflow_edge.timestamps import utc_now

OFFLINE = "offline"


@dataclass(frozen=True)
class LastWords:
    """Who is gone, and where it is told."""

    to: Publishing
    thing: str
    version: str

    @property
    def will(self) -> Message:
        """For the broker to publish when the connection is lost; when that will be, nobody knows yet."""
        return self._message(reason="the connection was lost")

    def farewell(self) -> Message:
        """For the end of a run."""
        return self._message(reason="it was ended", since=utc_now())

    def _message(self, **more: str) -> Message:
        told = {"thing": self.thing, "version": self.version, "status": OFFLINE, "streams": {}, **more}
        text = json.dumps(told, ensure_ascii=False)
        return Message(self.to.status_topic, text, self.to.qos, retain=True, lasting=True)


def last_words(to: Publishing, thing: str, version: str) -> LastWords | None:
    """None where there is no status topic."""
    return LastWords(to, thing, version) if to.status_topic else None
