"""Signals heard in a thread of their own.

A Python signal handler runs in the main thread, between two of its steps: while that thread waits for a lock, or holds
one that the handler needs, nothing happens or everything stops. A thread that reads signal numbers from a pipe has
neither trouble.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

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
