"""Signals heard in a thread of their own, whatever the main thread waits for.

Python's handlers run in the main thread, between two of its steps, and a signal wakes it only when the kernel has
delivered it to that very thread. While that thread waits for a lock, or holds one that the handler needs, nothing
happens or everything stops. What Python writes to the wake-up descriptor is there whichever thread the kernel picked.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What asks a program to end: Ctrl-C, a supervisor, a closed terminal."""


def _nothing(_: int, __: FrameType | None) -> None:
    """Python has to have a handler, or it writes nothing to the wake-up descriptor."""


class Signals:
    """Hears signals from now on. To be made once, in the main thread.

    Args:
        numbers: which.
        heard: called with the number of each, in the order in which they came, from one thread; may be exchanged at any
            time.
        handler: what Python itself does in the main thread, as for `signal.signal`; nothing by default.
    """

    def __init__(
        self, numbers: Sequence[int], heard: Callable[[int], object], handler: Callable[[int, Any], object] = _nothing
    ) -> None:
        self.heard = heard
        self._numbers = frozenset(numbers)
        self._receiver, sender = os.pipe()
        os.set_blocking(sender, False)
        signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, handler)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()

    def _listen(self) -> None:
        while True:
            for number in os.read(self._receiver, 64):
                if number in self._numbers:
                    self.heard(number)


def on_end(callback: Callable[[int], object]) -> Signals:
    """Call `callback` with the number of the first of `ENDS`, from a thread; later ones do nothing.

    To be called once, in the main thread.
    """
    came = threading.Event()

    def heard(number: int) -> None:
        if not came.is_set():
            came.set()
            callback(number)

    return Signals(ENDS, heard)
