"""Results to publish, and an outlet whose other side the test holds."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from emflow_edge.metrics.counters import Counters
from emflow_edge.outcome import Box, ClassScore, Detection, Outcome
from emflow_edge.results.message import Result
from emflow_edge.results.publisher import Publisher
from emflow_edge.results.sinks import Message

Make = Callable[..., Publisher]


def result(sequence: int = 0, index: int = 1, confidence: float = 0.9, stream: str = "front") -> Result:
    """What a classifier says."""
    top = (ClassScore(index, "cat", confidence),)
    return Result(stream, sequence, time.time(), time.monotonic(), 5.0, "net", "thing", "1.0.0", Outcome(top))


def large(things: int, sequence: int = 0, stream: str = "front") -> Result:
    """What a detector says that finds so many things, each of about 115 bytes."""
    one = result(sequence, stream=stream)
    found = tuple(Detection(1, "a label", 0.9, Box(0.1234, 0.1234, 0.5, 0.5)) for _ in range(things))
    return replace(one, outcome=replace(one.outcome, detections=found))


def detected(*indexes: int, sequence: int = 0) -> Result:
    """What a detector says."""
    found = tuple(Detection(index, None, 0.9, Box(0, 0, 0.5, 0.5)) for index in indexes)
    top = tuple(ClassScore(index, None, 0.9) for index in dict.fromkeys(indexes))
    return Result("front", sequence, time.time(), time.monotonic(), 5.0, "net", "thing", "1.0.0", Outcome(top, found))


@dataclass
class ScriptedSink:
    """The other side of an outlet: it answers at once, or as the test says. Also the outlet to it."""

    answers: bool = True
    absent: Exception | None = None
    refuses: dict[str, Exception] = field(default_factory=dict)
    opened: int = 0
    tries: int = 0
    closed: bool = True
    wills: list[Message | None] = field(default_factory=list)
    asked: list[tuple[Message, Future[Any]]] = field(default_factory=list)
    taken: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def open(self, lost: Callable[[], object], will: Message | None) -> None:
        self.tries += 1
        if self.absent:
            raise self.absent
        self.opened += 1
        self.wills.append(will)
        self.hang_up, self.closed = lost, False

    def send(self, message: Message) -> Future[Any]:
        answer: Future[Any] = Future()
        with self._lock:
            self.asked.append((message, answer))
            answers = self.answers
        if answers:
            self._answer(message, answer)
        return answer

    def close(self) -> None:
        self.closed = True

    def answer(self) -> None:
        """Answer what is open, in order, and everything from now on at once."""
        with self._lock:
            self.answers = True
            waiting, self.asked = self.asked, []
        for message, answer in waiting:
            if not answer.done():
                self._answer(message, answer)

    def _answer(self, message: Message, answer: Future[Any]) -> None:
        error = self.refuses.get(message.topic)
        if error is None:
            self.taken.append(message)
            answer.set_result(None)
        else:
            answer.set_exception(error)

    def sequences(self, topic: str = "em/inference") -> list[int]:
        return [json.loads(message.payload)["sequence"] for message in self.taken if message.topic == topic]


def counted(counters: Counters) -> tuple[int, int, int]:
    now = counters.snapshot()
    return now["published"], now["dropped"], now["filtered"]
