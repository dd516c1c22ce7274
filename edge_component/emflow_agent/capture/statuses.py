"""What became of each capture, for as many of the newest as are worth remembering."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from emflow_proto import messages as m

REMEMBERED = 10_000


def same(capture_id: str) -> str:
    """One spelling for all that name the same UUID."""
    return capture_id.replace("-", "").lower()


class Statuses:
    """Statuses by capture id; when there are too many, the oldest are forgotten. Safe to use from any thread."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._lock = threading.Lock()
        self._known: OrderedDict[str, m.CaptureDataStatus] = OrderedDict()

    def begin(self, capture_id: str) -> bool:
        """Note that a capture is under way; False when its id was there before."""
        with self._lock:
            if same(capture_id) in self._known:
                return False
            self._known[same(capture_id)] = m.CaptureDataStatus.IN_PROGRESS
            while len(self._known) > self._remembered:
                self._known.popitem(last=False)
            return True

    def settle(self, capture_ids: Iterable[str], status: m.CaptureDataStatus) -> None:
        """Note what became of captures; of those that are forgotten, nothing."""
        with self._lock:
            for capture_id in map(same, capture_ids):
                if capture_id in self._known:
                    self._known[capture_id] = status

    def get(self, capture_id: str) -> m.CaptureDataStatus | None:
        with self._lock:
            return self._known.get(same(capture_id))
