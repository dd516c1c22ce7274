"""Signals heard in a thread of their own, whatever the main thread waits for.

Python's handlers run in the main thread, between two of its steps, and a signal wakes it only when the kernel has
delivered it to that very thread. It may pick any other, those of libraries included: then nothing happens for as long
as the main thread waits. What Python writes to the wake-up descriptor is there whichever thread was picked.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from typing import Callable


class Signals:
    """Hears signals from now on. To be made once, in the main thread.

    Args:
        numbers: which.
        heard: called with the number of each, from a thread; may be exchanged at any time.
    """

    def __init__(self, numbers: Sequence[int], heard: Callable[[int], object]) -> None:
        self.heard = heard
        self._numbers = numbers
        self._receiver, sender = os.pipe()
        os.set_blocking(sender, False)
        signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda *_: None)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()

    def _listen(self) -> None:
        while True:
            for number in os.read(self._receiver, 64):
                if number in self._numbers:
                    self.heard(number)
