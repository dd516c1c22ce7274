"""One message on its way."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from emflow_edge.results.queue import Item
from emflow_edge.results.sinks import Message
from emflow_edge.results.waiting import Entry
from emflow_edge.settings.publishing import Publishing
from emflow_schema.topics import fill


@dataclass(frozen=True)
class Flight:
    """A message that is under way. age: of its result, in milliseconds; begun: monotonic seconds."""

    item: Item
    topic: str
    age: float
    begun: float
    answer: Future[Any]


def launch(item: Item, to: Publishing, now: float, send: Callable[[Message], Future[Any]]) -> Flight:
    """Begin to send an item.

    Args:
        to: which topic results go to.
        now: Unix time.
        send: of the outlet, whose exceptions come through.
    """
    age = 0.0
    if isinstance(item, Entry):
        result = item.result
        age = max(0.0, now - result.taken) * 1000
        names = {"thing": result.thing, "stream": result.stream, "model": result.model_name}
        message = Message(fill(to.topic, names), result.message(now), to.qos)
    else:
        message = item
    return Flight(item, message.topic, age, time.monotonic(), send(message))
