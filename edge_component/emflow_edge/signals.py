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


def listen(numbers: Sequence[int], heard: Callable[[int], object]) -> None:
    """Call `heard` with the number of each of these signals, from a thread. From the main thread, and once."""
    receiver, sender = os.pipe()
    os.set_blocking(sender, False)
    signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda *_: None)

    def read() -> None:
        while True:
            for number in os.read(receiver, 64):
                if number in numbers:
                    heard(number)

    threading.Thread(target=read, name="signals", daemon=True).start()
