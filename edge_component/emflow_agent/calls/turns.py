"""Who uses a model, or loads one, next: one call at a time, clients in turn, and only so many that wait.

A model's runtime takes one call at a time. Each call that waits has a thread of its own and belongs to a client.
Clients take turns, however many calls each has waiting: who sends many at once does not hold up who sends one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from emflow_agent.calls.callers import Caller
from emflow_agent.problems import Abandoned, NoSuchModel, Refused, TooManyCalls


class _Waiter:
    """A call that waits; `done` is released when it is known how that ends."""

    __slots__ = ("done", "refusal")

    def __init__(self) -> None:
        self.done = threading.Lock()
        self.done.acquire()
        self.refusal: Refused | None = None


class Turns:
    """The turns of one model, or of what else is done one at a time.

    Args:
        what: calls wait for, in refusals.
        most: calls that may wait.
    """

    def __init__(self, what: str, most: int) -> None:
        self._what, self._most = what, most
        self._lock = threading.Lock()
        self._busy = False
        self._waiting: OrderedDict[str, deque[_Waiter]] = OrderedDict()
        self._count = 0
        self._closed: Callable[[], None] | None = None

    @contextmanager
    def turn(self, caller: Caller) -> Iterator[None]:
        """The model is the caller's inside the `with`.

        Raises:
            TooManyCalls: as many as may wait do so already, and no other client has more of them.
            Abandoned: the caller went away, or its deadline passed, before its turn came.
            NoSuchModel: the model was unloaded meanwhile.
        """
        self._take(caller)
        try:
            yield
        finally:
            self._leave()

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return self._count

    def close(self, then: Callable[[], None]) -> None:
        """Refuse all that wait and all that come; `then` is called once nobody uses the model any more."""
        with self._lock:
            self._closed = then
            waiters = [waiter for queue in self._waiting.values() for waiter in queue]
            self._waiting.clear()
            self._count = 0
            busy = self._busy
        for waiter in waiters:
            self._refuse(waiter, self._unloaded())
        if not busy:
            then()

    def _take(self, caller: Caller) -> None:
        with self._lock:
            if self._closed is not None:
                raise self._unloaded()
            if not self._busy:
                self._busy = True
                return
            client, waiter = caller.client, _Waiter()
            self._make_room(client)
            self._waiting.setdefault(client, deque()).append(waiter)
            self._count += 1
        caller.when_gone(lambda: self._abandon(client, waiter))
        waiter.done.acquire()
        if waiter.refusal is not None:
            raise waiter.refusal
        if caller.is_gone():
            self._leave()
            raise Abandoned("the caller is gone")

    def _make_room(self, client: str) -> None:
        """With `_lock` held. Raises: TooManyCalls."""
        if self._count < self._most:
            return
        longest = max(self._waiting, key=lambda one: len(self._waiting[one]))
        if len(self._waiting[longest]) <= len(self._waiting.get(client, ())) + 1:
            raise self._full()
        # The one that came last of the client that has the most.
        self._refuse(self._waiting[longest].pop(), self._full())
        self._count -= 1

    def _leave(self) -> None:
        with self._lock:
            if self._waiting:
                client, queue = self._waiting.popitem(last=False)
                waiter = queue.popleft()
                self._count -= 1
                if queue:
                    self._waiting[client] = queue  # at the end: everybody else comes first
                waiter.done.release()
                return
            self._busy = False
            then = self._closed
        if then is not None:
            then()

    def _abandon(self, client: str, waiter: _Waiter) -> None:
        with self._lock:
            queue = self._waiting.get(client)
            if queue is None or waiter not in queue:
                return
            queue.remove(waiter)
            self._count -= 1
            if not queue:
                del self._waiting[client]
        self._refuse(waiter, Abandoned("the caller is gone"))

    @staticmethod
    def _refuse(waiter: _Waiter, refusal: Refused) -> None:
        waiter.refusal = refusal
        waiter.done.release()

    def _full(self) -> Refused:
        return TooManyCalls(f"{self._most} calls wait for {self._what}, and no more may; try again later")

    def _unloaded(self) -> Refused:
        return NoSuchModel(f"{self._what} was unloaded")
