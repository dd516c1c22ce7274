"""Results on their way out: a bounded queue and its thread, so that no slow or absent broker holds up inference.

Several messages are under way at a time, so that a broker that takes long to answer does not limit how many get out.
Topics get their messages in order; after an outage, what waited goes out after what comes in, the newest of it first.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from typing import Any

from emflow_edge.metrics.counters import Counters
from emflow_edge.metrics.latencies import StageLatencies
from emflow_edge.results.message import Result
from emflow_edge.results.queue import PublishQueue, QueuedResult, QueueItem
from emflow_edge.results.sinks import Message, MessageRejected, MessageSink, OfflineMessages
from emflow_schema.backoff import Backoff
from emflow_schema.edge_config import Publish
from emflow_schema.errors import EdgeProblem
from emflow_schema.topics import fill

# One message on its way.


@dataclass(frozen=True)
class MessageInFlight:
    """A message that is under way. age: of its result, in milliseconds; begun: monotonic seconds."""

    item: QueueItem
    topic: str
    age: float
    begun: float
    answer: Future[Any]


def start_sending(item: QueueItem, to: Publish, now: float, send: Callable[[Message], Future[Any]]) -> MessageInFlight:
    """Begin to send an item.

    Args:
        to: which topic results go to.
        now: Unix time.
        send: of the outlet, whose exceptions come through.
    """
    age = 0.0
    if isinstance(item, QueuedResult):
        result = item.result
        age = max(0.0, now - result.captured_at) * 1000
        names = {"thing": result.thing, "stream": result.stream, "model": result.model_name}
        message = Message(fill(to.topic, names), result.message(now), to.qos)
    else:
        message = item
    return MessageInFlight(item, message.topic, age, time.monotonic(), send(message))


# What holds up publishing, as it is told: one line for each topic, and the status whenever it changes.


log = logging.getLogger(__name__)


class FailureLog:
    """Remembers what was told. For one thread.

    Args:
        failing: called with why messages cannot be sent, and with an empty text when they can again.
    """

    def __init__(self, failing: Callable[[str], object]) -> None:
        self._failing = failing
        self._refused: dict[str, str] = {}
        self._unheard: set[str] = set()
        self._told: str | None = None

    def tell(self, why: str) -> None:
        if why != self._told:
            self._told = why
            self._failing(why)

    def delivered(self, topic: str) -> None:
        """A topic takes messages; what holds up another one stays told."""
        self._refused.pop(topic, None)
        self.tell(next(iter(self._refused.values()), ""))

    def results_refused(self, topic: str, why: str) -> None:
        if topic not in self._refused:
            log.warning("results cannot be published: %s is refused: %s", topic, why)
        self._refused[topic] = why
        self.tell(why)

    def others_refused(self, topic: str, why: str) -> None:
        """The same of status and metrics, which hold up nothing."""
        if topic not in self._unheard:
            self._unheard.add(topic)
            log.warning("status or metrics cannot be published: %s is refused: %s", topic, why)


DEPTH = 100
UNDER_WAY = 32
_TIMEOUT = 10.0
# Which part of the time to end in is for results, and how many seconds the last words may take.
_RESULTS, _WORDS = 0.6, 0.3


class Publisher:
    """Sends results, each until the outlet takes it. When too many wait, the oldest goes.

    Args:
        outlet: where to.
        to: which results, and how.
        failing: called with why messages cannot be sent, and with an empty text when they can again.
        limit: stop after so many; 0 means never.
        finished: called once, with None when `limit` is reached or with what ended it.
        depth: how many results may wait, beside those under way.
        clock: Unix time, which a result's age is counted by.
        last_words: what is published when this ends, or is lost.
        timeout: seconds after which a message without an answer is taken for lost.
    """

    def __init__(
        self,
        outlet: MessageSink,
        to: Publish,
        counters: Counters,
        timings: StageLatencies,
        finished: Callable[[EdgeProblem | None], object],
        failing: Callable[[str], object] = lambda _: None,
        limit: int = 0,
        depth: int = DEPTH,
        clock: Callable[[], float] = time.time,
        offline_messages: OfflineMessages | None = None,
        timeout: float = _TIMEOUT,
    ) -> None:
        self._outlet, self._offline_messages = outlet, offline_messages
        self._timings, self._finished = timings, finished
        self._depth, self._clock, self._timeout = depth, clock, timeout
        self._box = PublishQueue(to, counters, depth, limit)
        # Guarded by the outbox's condition.
        self._changed = self._box.changed
        self._answered = self._lost = False
        self._deadline: float | None = None
        self._connection = 0
        # The thread's own.
        self._open = self._failing = False
        self._flights: list[MessageInFlight] = []
        self._kept: dict[str, Message] = {}
        self._trouble = FailureLog(failing)
        self._backoff = Backoff(0.2, 5.0)
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def use(self, to: Publish) -> bool:
        """Go on with these settings; whether that can be done over the same connection."""
        with self._changed:
            same = self._box.to.same_connection(to)
            if same:
                self._box.to = to
            return same

    def put(self, result: Result) -> None:
        """Take a result along. Never blocks."""
        self._box.put(result)

    def announce(self, topic: str, payload: str, retain: bool = False) -> None:
        """Send something else than a result; of those that wait for a topic, only the newest goes. Never blocks.

        It is tried once; but what is to be retained is sent again over each new connection.
        """
        self._box.announce(Message(topic, payload, self._box.to.qos, retain, lasting=True))

    def close(self, grace: float) -> bool:
        """Send what waits, for at most `grace` seconds, and end; what is left then is counted as dropped.

        Returns whether its thread has ended; an outlet that hangs may hold it.
        """
        with self._changed:
            self._deadline = time.monotonic() + grace * _RESULTS
            self._changed.notify()
        self._thread.join(grace)
        self._box.close()
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._over():
                self._step()
            if self._box.done:
                self._finished(None)
            self._say_goodbye()
        except EdgeProblem as problem:
            self._finished(problem)
        finally:
            self._let_go()

    def _over(self) -> bool:
        with self._changed:
            return self._box.done or (self._ending and (self._nothing_left or self._left() == 0))

    def _step(self) -> None:
        """Do the next thing that is to be done, or wait for one.

        Raises:
            EdgeProblem: nothing can be delivered any more.
        """
        try:
            if not self._open:
                self._connect()
            self._collect()
            if not self._launch():
                with self._changed:
                    # Not until it is due: whoever ends this changes how long that may take.
                    if not self._is_due():
                        self._changed.wait(self._patience())
        except EdgeProblem:
            raise
        except Exception as error:
            # Whatever the outlet's library raises: not delivered, so again.
            self._outage(error)

    @property
    def _ending(self) -> bool:
        return self._deadline is not None

    @property
    def _nothing_left(self) -> bool:
        return self._box.empty and not self._flights

    @property
    def _has_room(self) -> bool:
        # While it is not known whether anything arrives, one is enough to find out.
        return len(self._flights) < (1 if self._failing else UNDER_WAY)

    def _left(self) -> float:
        """Seconds until results are not sent any more; infinite as long as nobody has said."""
        return math.inf if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _is_due(self) -> bool:
        """Whether there is something to be done."""
        to_be_sent = self._has_room and self._box.has_next
        over = self._box.done or (self._ending and self._nothing_left)
        return self._answered or self._lost or to_be_sent or over

    def _patience(self) -> float | None:
        """How long to wait for something at most: until it has to end, or an answer is overdue."""
        now = time.monotonic()
        left = min([self._left(), *(flight.begun + self._timeout - now for flight in self._flights)])
        return max(0.0, left) if left < math.inf else None

    def _connect(self) -> None:
        with self._changed:
            self._lost = False
            self._connection = number = self._connection + 1
        self._outlet.open(
            lambda: self._hung_up(number), self._offline_messages.will if self._offline_messages else None
        )
        self._open = True
        if self._failing:
            # What was made since then has waited, too.
            self._box.outage()
        # The will may have been published since they were sent.
        self._box.announce_again(self._kept.values())

    def _hung_up(self, number: int) -> None:
        with self._changed:
            # One that was let go of may say so late.
            if number == self._connection:
                self._lost = True
                self._changed.notify()

    def _launch(self) -> bool:
        """Begin to send the next message, if there is one and it is time; whether it was."""
        item = self._box.take() if self._has_room else None
        if item is None:
            return False
        if isinstance(item, Message) and item.retain:
            self._kept[item.topic] = item
        flight = start_sending(item, self._box.to, self._clock(), self._outlet.send)
        self._flights.append(flight)
        flight.answer.add_done_callback(self._has_answered)
        return True

    def _has_answered(self, _: Future[Any]) -> None:
        with self._changed:
            self._answered = True
            self._changed.notify()

    def _collect(self) -> None:
        """Look what has arrived.

        Raises:
            EdgeProblem: nothing can be delivered any more.
            Exception: something was not delivered, or nobody says whether it was.
        """
        with self._changed:
            lost, self._answered = self._lost, False
        flights, self._flights = self._flights, []
        problem: BaseException | None = ConnectionError("the connection was lost") if lost else None
        for flight in flights:
            if not flight.answer.done():
                self._flights.append(flight)
                if time.monotonic() >= flight.begun + self._timeout:
                    problem = problem or TimeoutError(f"no answer within {self._timeout:g} s")
                continue
            error = flight.answer.exception()
            if error is None:
                self._delivered(flight)
            elif isinstance(error, MessageRejected):
                self._turned_down(flight, str(error))
            else:
                problem = error
        if problem is not None:
            raise problem

    def _delivered(self, flight: MessageInFlight) -> None:
        if isinstance(flight.item, QueuedResult) and self._box.published(flight.item):
            self._timings.age.add(flight.age)
        if self._failing:
            log.info("publishing again")
        self._failing = False
        self._backoff.reset()
        self._trouble.delivered(flight.topic)

    def _turned_down(self, flight: MessageInFlight, why: str) -> None:
        """What is not wanted is not sent again; what follows is tried."""
        if isinstance(flight.item, QueuedResult):
            self._box.refused(flight.item)
            self._trouble.results_refused(flight.topic, why)
            return
        self._kept.pop(flight.topic, None)
        self._trouble.others_refused(flight.topic, why)

    def _outage(self, error: BaseException) -> None:
        """Nothing under way arrives any more: begin anew, after a while."""
        self._let_go()
        self._open, self._flights = False, []
        self._box.outage()
        words = str(getattr(error, "message", None) or error) or type(error).__name__
        if not self._failing:
            log.warning("results cannot be published: %s; keeping the newest %d and trying on", words, self._depth)
        self._failing = True
        self._trouble.tell(words)
        with self._changed:
            # A close() cuts a long wait short for one last try.
            ending = self._ending
            self._changed.wait_for(lambda: self._ending != ending, min(self._backoff.delay(), self._left()))

    def _let_go(self) -> None:
        # What a library says of a connection that is given up anyway, is of no use to anybody.
        with contextlib.suppress(Exception):
            self._outlet.close()

    def _say_goodbye(self) -> None:
        if self._open and self._offline_messages and not self._lost:
            # Its answer is worth waiting for: a broker that lets go of a client in good order forgets its will.
            with contextlib.suppress(Exception):
                wait_for([self._outlet.send(self._offline_messages.farewell())], _WORDS)
