"""How long things take, for the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def timed(log: logging.Logger, what: str, *values: object) -> Iterator[None]:
    """Log at debug level how long the block took, also when it raises.

    Args:
        what: the message up to the duration, as `logging` takes it; `values` are for its placeholders.
    """
    if not log.isEnabledFor(logging.DEBUG):
        yield
        return
    started = time.perf_counter()
    try:
        yield
    finally:
        log.debug(f"{what}: %.1f ms", *values, (time.perf_counter() - started) * 1000)
