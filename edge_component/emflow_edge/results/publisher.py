"""The publisher: sends results from a bounded queue in its own thread, so that a slow broker never delays inference.

Several messages are in flight at a time, so that a slow answer of the broker does not limit the rate. The messages of a
topic stay in order; after an outage, new results are sent first, then the waiting ones, newest first. What a sink will
never take is not sent again (`suspects`). Other settings, also those that need another connection, change nothing about
what waits: each result goes where the settings that it was made under say.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from typing import Any

from emflow_edge.metrics.counters import Counters
from emflow_edge.metrics.latencies import StageLatencies
from emflow_edge.results.message import Result
from emflow_edge.results.queue import PublishQueue, QueuedResult, QueueItem
from emflow_edge.results.sinks import (
    Message,
    MessageRefused,
    MessageRejected,
    MessageSink,
    MessageTooLarge,
    OfflineMessages,
)
from emflow_edge.results.suspects import Suspects
from emflow_schema.backoff import Backoff
from emflow_schema.edge_config import Publish
from emflow_schema.errors import EdgeProblem
from emflow_schema.topics import fill

log = logging.getLogger(__name__)

QUEUE_DEPTH = 100
"""Results that may wait."""
MAX_IN_FLIGHT = 32
"""Messages that may be sent without an answer."""

_TIMEOUT = 10.0
# Seconds between two attempts to publish: the first, and the longest.
_RETRIES = (0.2, 5.0)
# Seconds after which a connection counts as good, so that the next attempts after it begin with short delays again; and
# seconds within which one that breaks may break because of the last message.
_GOOD_SECONDS, _CAUSE_SECONDS = 30.0, 1.0
# Seconds that the loss of a connection may be reported later than that of its messages.
_LOSS_SECONDS = 0.1
_TOO_LARGE = "set modelIO.boxes.most lower, or modelIO.threshold higher"
# Part of the time for closing that results get, and seconds for the offline message.
_RESULTS_SHARE, _OFFLINE_SECONDS = 0.6, 0.3
# Seconds that messages under way get to be answered before another connection is used; then they are sent again.
_ANSWER_SECONDS = 1.5


@dataclass(frozen=True)
class MessageInFlight:
    """A message that was sent and not answered yet.

    size: bytes of its payload; qos: as it was asked for; age: of its result, in milliseconds; begun: monotonic seconds.
    """

    item: QueueItem
    topic: str
    size: int
    qos: int
    age: float
    begun: float
    answer: Future[Any]

    @property
    def key(self) -> Hashable:
        """What identifies the message when it is sent again."""
        return self.item.number if isinstance(self.item, QueuedResult) else self.topic

    @property
    def stream(self) -> str:
        """` (stream …)` of a result, for messages."""
        return f" (stream {self.item.result.stream})" if isinstance(self.item, QueuedResult) else ""


def start_sending(item: QueueItem, now: float, send: Callable[[Message], Future[Any]]) -> MessageInFlight:
    """Begin to send an item.

    Args:
        now: monotonic time.
        send: of the sink; its exceptions are not caught.
    """
    age = 0.0
    if isinstance(item, QueuedResult):
        result = item.result
        age = result.age(now) * 1000
        names = {"thing": result.thing, "stream": result.stream, "model": result.model_name}
        message = Message(fill(item.to.topic, names), result.message(now), item.to.qos)
    else:
        message = item
    size = len(message.payload.encode())
    return MessageInFlight(item, message.topic, size, message.qos, age, time.monotonic(), send(message))


# Seconds in which a topic's failure is logged once, and for which one that other messages of the topic do not disprove
# stays in the status.
_QUIET_SECONDS, _HELD_SECONDS = 600.0, 60.0


class FailureLog:
    """Logs publishing failures once for each topic, and reports the current one. Not thread-safe.

    Args:
        failing: called with the reason why messages cannot be sent, and with an empty text when they can.
        clock: monotonic seconds.
    """

    def __init__(self, failing: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._failing, self._clock = failing, clock
        self._rejected: dict[str, str] = {}
        self._held: dict[str, tuple[str, float]] = {}
        self._logged: dict[tuple[str, str], float] = {}
        self._reported: str | None = None

    def report(self, why: str) -> None:
        if why != self._reported:
            self._reported = why
            self._failing(why)

    def forget_topics(self) -> None:
        """The settings are others: what was rejected with those before says nothing about them."""
        if self._rejected or self._held:
            self._rejected.clear()
            self._held.clear()
            self.report("")

    def delivered(self, topic: str) -> None:
        """A message was delivered to this topic; failures of other topics remain, and those of single messages."""
        self._rejected.pop(topic, None)
        oldest = self._clock() - _HELD_SECONDS
        self._held = {topic: held for topic, held in self._held.items() if held[1] > oldest}
        reasons = [*self._rejected.values(), *(why for why, _ in self._held.values())]
        self.report(next(iter(reasons), ""))

    def result_rejected(self, topic: str, why: str, where: str = "", only: str = "", *, current: bool = True) -> None:
        """A result is not published.

        Args:
            where: what follows the reason in the log, such as the stream.
            only: which messages of this topic are meant, where others may well be delivered.
            current: whether it was made under the current settings; otherwise it is logged only.
        """
        if self._is_new(topic, only) or (not only and topic not in self._rejected):
            log.warning("results cannot be published: %s is rejected: %s%s", topic, why, where)
        if not current:
            return
        if only:
            # The first reason stays: each message has another size.
            self._held[topic] = (self._held.get(topic, (why, 0.0))[0], self._clock())
            why = self._held[topic][0]
        else:
            self._rejected[topic] = why
        self.report(why)

    def other_rejected(self, topic: str, why: str) -> None:
        """The same for status and metrics; they do not change the status."""
        if self._is_new(topic, "other"):
            log.warning("status or metrics cannot be published: %s is rejected: %s", topic, why)

    def _is_new(self, topic: str, kind: str) -> bool:
        now, before = self._clock(), self._logged.get((topic, kind), -math.inf)
        if now - before < _QUIET_SECONDS:
            return False
        self._logged[topic, kind] = now
        return True


@dataclass(frozen=True)
class _Change:
    """Settings that the thread has yet to take over. sink: None where the connection stays."""

    sink: MessageSink | None
    offline_messages: OfflineMessages | None


class Publisher:
    """Sends each result until the sink accepts it. When too many wait, the oldest is dropped.

    Args:
        sink: where messages are sent.
        to: publish settings.
        failing: called with the reason why messages cannot be sent, and with an empty text when they can.
        limit: stop after so many results; 0 means never.
        finished: called once, with None when `limit` is reached, or with the problem.
        depth: how many results may wait, besides those in flight.
        clock: monotonic time, for the age of results.
        offline_messages: published when this ends or the connection is lost.
        timeout: seconds after which a message without an answer counts as lost.
    """

    def __init__(
        self,
        sink: MessageSink,
        to: Publish,
        counters: Counters,
        timings: StageLatencies,
        finished: Callable[[EdgeProblem | None], object],
        failing: Callable[[str], object] = lambda _: None,
        limit: int = 0,
        depth: int = QUEUE_DEPTH,
        clock: Callable[[], float] = time.monotonic,
        offline_messages: OfflineMessages | None = None,
        timeout: float = _TIMEOUT,
    ) -> None:
        self._sink, self._offline_messages = sink, offline_messages
        self._timings, self._finished = timings, finished
        self._depth, self._clock, self._timeout = depth, clock, timeout
        self._queue = PublishQueue(to, counters, depth, limit)
        # Guarded by the condition of the queue.
        self._changed = self._queue.changed
        self._answered = self._lost = False
        self._deadline: float | None = None
        self._connection = 0
        self._change: _Change | None = None
        # Used by the thread only.
        self._open = self._failing = False
        self._in_flight: list[MessageInFlight] = []
        self._broken: list[MessageInFlight] = []
        self._suspects = Suspects()
        self._unacknowledged: MessageInFlight | None = None
        self._opened_at = 0.0
        self._kept: dict[str, Message] = {}
        self._failures = FailureLog(failing)
        self._backoff = Backoff(*_RETRIES)
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def keeps_connection(self, to: Publish, offline_messages: OfflineMessages | None) -> bool:
        """Whether these settings can be used over the same connection, whose last will is the one that they have."""
        with self._changed:
            mine = self._change.offline_messages if self._change else self._offline_messages
            return self._queue.to.same_connection(to) and _will(mine) == _will(offline_messages)

    def use_settings(
        self, to: Publish, offline_messages: OfflineMessages | None = None, sink: MessageSink | None = None
    ) -> bool:
        """Use other settings for what is made from now on. Never blocks.

        What waits stays in the queue, with the topics that it has. With another sink, messages under way get a moment
        to be answered, and are sent again otherwise.

        Args:
            sink: where messages are sent; without it, over the connection that there is.

        Returns whether they are used: not where they need a sink (`keeps_connection`), and there is none.
        """
        with self._changed:
            if sink is None and not self.keeps_connection(to, offline_messages):
                return False
            # A sink that has not been used yet is not lost to settings that keep it.
            sink = sink or (self._change.sink if self._change else None)
            self._change = _Change(sink, offline_messages)
            self._queue.use(to)
            return True

    def put(self, result: Result) -> None:
        """Queue a result. Never blocks."""
        self._queue.put(result)

    def announce(self, topic: str, payload: str, retain: bool = False) -> None:
        """Queue a status or metrics message; only the newest one of a topic is kept. Never blocks.

        It is sent once; retained messages are sent again after each reconnect, and only the status is retained.
        """
        self._queue.announce(topic, payload, retain)

    def close(self, grace: float) -> bool:
        """Send waiting results for at most `grace` seconds, and end; the rest counts as dropped.

        Returns whether the thread has ended; a sink that hangs may block it.
        """
        with self._changed:
            self._deadline = time.monotonic() + grace * _RESULTS_SHARE
            self._changed.notify()
        self._thread.join(grace)
        self._queue.close()
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._over():
                self._step()
            if self._queue.done:
                self._finished(None)
            self._publish_offline()
        except EdgeProblem as problem:
            self._finished(problem)
        finally:
            self._close_sink()

    def _over(self) -> bool:
        with self._changed:
            return self._queue.done or (self._ending and (self._nothing_left or self._left() == 0))

    def _step(self) -> None:
        """Do the next step, or wait for one.

        Raises:
            EdgeProblem: the sink has a permanent problem.
        """
        try:
            if self._change is not None:
                self._take_over()
            if not self._open:
                self._connect()
            self._process_answers()
            if not self._send_next():
                with self._changed:
                    # `close` may have shortened the waiting time in between.
                    if not self._is_due():
                        self._changed.wait(self._patience())
        except EdgeProblem:
            raise
        except Exception as error:
            # Any error of the library of the sink: not delivered, try again.
            self._connection_failed(error)

    @property
    def _ending(self) -> bool:
        return self._deadline is not None

    @property
    def _nothing_left(self) -> bool:
        return self._queue.empty and not self._in_flight and self._change is None

    @property
    def _has_room(self) -> bool:
        # After a failure, one message at a time until one is delivered, or until it is known which one caused it.
        return len(self._in_flight) < (1 if self._failing or self._suspects.careful else MAX_IN_FLIGHT)

    def _left(self) -> float:
        """Seconds left for sending results; infinite before `close`."""
        return math.inf if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _is_due(self) -> bool:
        """Whether the next step can be done."""
        to_be_sent = self._has_room and self._queue.has_next
        over = self._queue.done or (self._ending and self._nothing_left)
        return self._answered or self._lost or self._change is not None or to_be_sent or over

    def _patience(self) -> float | None:
        """Maximum waiting time: until the end, or the timeout of an answer."""
        now = time.monotonic()
        left = min([self._left(), *(flight.begun + self._timeout - now for flight in self._in_flight)])
        return max(0.0, left) if left < math.inf else None

    def _take_over(self) -> None:
        """Use the settings that are to be used now.

        Raises:
            EdgeProblem, Exception: see `_process_answers`; the connection before has failed.
        """
        change = self._change
        if change is not None and change.sink is not None and self._open:
            deadline = time.monotonic() + _ANSWER_SECONDS
            while self._in_flight and (left := min(self._left(), deadline - time.monotonic())) > 0:
                with self._changed:
                    self._changed.wait_for(lambda: self._answered or self._lost, left)
                self._process_answers()
        with self._changed:
            # There may be a newer one by now.
            change, self._change = self._change, None
            if change is None:
                return
            if change.sink is not None:
                # What the connection before says from now on means nothing.
                self._connection += 1
                self._lost = False
        self._offline_messages = change.offline_messages
        if change.sink is not None:
            self._close_sink()
            if self._in_flight:
                self._queue.outage()
            self._sink, self._open, self._failing = change.sink, False, False
            self._in_flight, self._broken, self._unacknowledged = [], [], None
            self._backoff.reset()
        # Of other topics only what removes a retained message there.
        topic = self._queue.to.status_topic
        self._kept = {
            message.topic: message for message in self._kept.values() if message.topic == topic or not message.payload
        }
        self._failures.forget_topics()

    def _connect(self) -> None:
        with self._changed:
            self._lost = False
            self._connection = number = self._connection + 1
        self._sink.open(
            lambda: self._connection_lost(number), self._offline_messages.will if self._offline_messages else None
        )
        self._open, self._opened_at = True, time.monotonic()
        if self._failing:
            # Results since the failure have been waiting too.
            self._queue.outage()
        # Send retained messages again: the broker may have published the will.
        self._queue.announce_again(self._kept.values())

    def _connection_lost(self, number: int) -> None:
        with self._changed:
            # The callback of a previous connection may come late.
            if number == self._connection:
                self._lost = True
                self._changed.notify()

    def _send_next(self) -> bool:
        """Start sending the next message, if one can be sent; whether it was."""
        item = self._queue.take() if self._has_room else None
        if item is None:
            return False
        if isinstance(item, Message) and item.retain:
            self._kept[item.topic] = item
        flight = start_sending(item, self._clock(), self._send)
        self._in_flight.append(flight)
        flight.answer.add_done_callback(self._on_answer)
        return True

    def _send(self, message: Message) -> Future[Any]:
        if not self._suspects.blocks(message.topic, len(message.payload.encode())):
            return self._sink.send(message)
        refused: Future[Any] = Future()
        refused.set_exception(_NotSent("the connection broke with messages like it; it is tried again later"))
        return refused

    def _on_answer(self, _: Future[Any]) -> None:
        with self._changed:
            self._answered = True
            self._changed.notify()

    def _process_answers(self) -> None:
        """Process the answers.

        Raises:
            EdgeProblem: the sink has a permanent problem.
            Exception: a message was not delivered, or has no answer.
        """
        with self._changed:
            lost, self._answered = self._lost, False
        flights, self._in_flight = self._in_flight, []
        problem: BaseException | None = ConnectionError("the connection was lost") if lost else None
        for flight in flights:
            if not flight.answer.done():
                self._in_flight.append(flight)
                if time.monotonic() >= flight.begun + self._timeout:
                    problem = problem or TimeoutError(f"no answer within {self._timeout:g} s")
                continue
            error = flight.answer.exception()
            if error is None:
                self._delivered(flight)
            elif isinstance(error, MessageRejected):
                self._rejected_by_sink(flight, error)
            elif isinstance(error, MessageRefused) and self._suspects.refused(flight.key, flight.topic, flight.size):
                self._set_aside(flight, f"refused again and again, which others are not: {error}")
            else:
                self._broken += [] if isinstance(error, MessageRefused) else [flight]
                problem = error
        if problem is not None:
            raise problem

    def _delivered(self, flight: MessageInFlight) -> None:
        if isinstance(flight.item, QueuedResult) and self._queue.published(flight.item):
            self._timings.for_stream(flight.item.result.stream).age.add(flight.age)
        if isinstance(flight.item, Message) and not flight.item.payload:
            # It has removed what was retained.
            self._kept.pop(flight.topic, None)
        if flight.qos:
            self._suspects.delivered(flight.key, flight.topic, flight.size)
        else:
            self._unacknowledged = flight
        if self._failing:
            log.info("publishing works again")
        self._failing = False
        self._failures.delivered(flight.topic)

    def _rejected_by_sink(self, flight: MessageInFlight, error: MessageRejected) -> None:
        """A rejected message is not sent again; the following ones are tried."""
        self._suspects.gone(flight.key)
        large = isinstance(error, MessageTooLarge)
        if isinstance(flight.item, QueuedResult):
            self._queue.refused(flight.item)
            only = "large ones" if large else "those set aside" if isinstance(error, _NotSent) else ""
            where = flight.stream + f"; {_TOO_LARGE}" * large if only else ""
            current = flight.item.to.topic == self._queue.to.topic
            self._failures.result_rejected(flight.topic, str(error), where, only, current=current)
            return
        self._kept.pop(flight.topic, None)
        self._failures.other_rejected(flight.topic, str(error))

    def _set_aside(self, flight: MessageInFlight, why: str) -> None:
        self._rejected_by_sink(flight, _NotSent(f"a message of {flight.size} bytes is not sent again: {why}"))

    def _connection_failed(self, error: BaseException) -> None:
        """The connection failed: close it, keep the messages, and wait before the next attempt."""
        self._find_cause()
        if self._open and time.monotonic() - self._opened_at >= _GOOD_SECONDS:
            self._backoff.reset()
        self._close_sink()
        self._open, self._in_flight = False, []
        self._queue.outage()
        words = str(getattr(error, "message", None) or error) or type(error).__name__
        if not self._failing:
            log.warning("results cannot be published: %s; keeping the newest %d and retrying", words, self._depth)
        self._failing = True
        self._failures.report(words)
        with self._changed:
            # `close` ends a long wait for one last attempt, and so do other settings.
            ending = self._ending
            self._changed.wait_for(
                lambda: self._ending != ending or self._change is not None, min(self._backoff.delay(), self._left())
            )

    def _find_cause(self) -> None:
        """Where the other side ended the connection: note the messages that were under way, and set aside those with
        which it has broken before."""
        under_way, self._broken = [*self._broken, *self._in_flight], []
        last, self._unacknowledged = self._unacknowledged, None
        with self._changed:
            if not (under_way or last) or not self._changed.wait_for(lambda: self._lost, _LOSS_SECONDS):
                return
        for flight in under_way:
            if self._suspects.broke_with(flight.key, flight.topic, flight.size):
                self._set_aside(flight, "the connection broke with it twice")
        if last is not None and not under_way and time.monotonic() - last.begun < _CAUSE_SECONDS:
            self._suspects.broke_after(last.topic, last.size)

    def _close_sink(self) -> None:
        # Errors while closing a failed connection are not relevant.
        with contextlib.suppress(Exception):
            self._sink.close()

    def _publish_offline(self) -> None:
        if self._open and self._offline_messages and not self._lost:
            # Wait for the answer: after a normal disconnect the broker discards the will.
            with contextlib.suppress(Exception):
                wait_for([self._sink.send(self._offline_messages.on_end())], _OFFLINE_SECONDS)


def _will(offline: OfflineMessages | None) -> Message | None:
    return offline.will if offline else None


class _NotSent(MessageRejected):
    """A message is set aside here, not rejected by the sink."""
