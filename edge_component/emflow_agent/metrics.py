"""The agent's metrics, logged periodically: calls and placement of each model, captured data, memory."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from emflow_agent.capture.buffer import CaptureBuffer
from emflow_agent.models.memory import available_bytes, resident_bytes
from emflow_agent.models.store import ModelStore

log = logging.getLogger(__name__)


def metrics_lines(store: ModelStore, captures: CaptureBuffer, memory_limit: int) -> Iterator[str]:
    """One line for each model (its calls since the last report), one for captured data (since the start) where it is
    configured, and one for memory."""
    models = store.all()
    for model in models:
        yield f"model {model.name}: {model.call_stats.take_summary()}, {model.queue.waiting} waiting; {model.placement}"
    if captures.is_configured:
        yield f"captured data: {captures.counts_text()}"
    have, left = resident_bytes() / 1e6, available_bytes(memory_limit) / 1e6
    yield f"memory: {have:.0f} MB taken, {left:.0f} MB left, {len(models)} models loaded"


@contextmanager
def log_periodically(store: ModelStore, captures: CaptureBuffer, memory_limit: int, period: float) -> Iterator[None]:
    """Log the lines every `period` seconds inside the `with`; never for 0."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(period):
            try:
                for line in metrics_lines(store, captures, memory_limit):
                    log.info("metrics: %s", line)
            except Exception as error:  # noqa: PERF203 the thread must survive it
                log.warning("metrics: not available now: %s", type(error).__name__)

    if period:
        threading.Thread(target=run, name="metrics", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
