"""Signals heard in a thread of their own, whatever the main thread waits for.

Python's handlers run in the main thread, between two of its steps, and a signal wakes it only when the kernel has
delivered it to that very thread. It may pick any other, those of libraries included: then nothing happens for as long
as the main thread waits. What Python writes to the wake-up descriptor is there whichever thread was picked.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence


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


# Signals heard in a thread of their own.
#
# A Python signal handler runs in the main thread, between two of its steps: while that thread waits for a lock, or
# holds
# one that the handler needs, nothing happens or everything stops. A thread that reads signal numbers from a pipe has
# neither trouble.


ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What asks a program to end: Ctrl-C, a supervisor, a closed terminal."""


def on_end(callback: Callable[[int], object]) -> None:
    """Call `callback` with the number of the first of these signals, from a thread; later ones do nothing.

    To be called once, from the main thread.
    """
    receiver, sender = os.pipe()
    os.set_blocking(sender, False)
    signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
    for number in ENDS:
        signal.signal(number, lambda *_: None)

    def listen() -> None:
        while True:
            for number in os.read(receiver, 64):
                if number in ENDS:
                    callback(number)
                    return

    threading.Thread(target=listen, name="signals", daemon=True).start()
