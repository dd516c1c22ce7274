"""Who uses a model next: one call at a time, clients in turn, and only so many that wait.

A model's runtime takes one call at a time. Each call that waits has a thread of its own and belongs to a client.
Clients take turns, however many calls each has waiting: who sends many at once does not hold up who sends one.

A call that finds the model free runs in its own thread. While calls wait, one thread runs them one after the other, so
that the model does not wait for a thread to wake up between two of them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, TypeVar

from emflow_agent.callers import Caller
from emflow_agent.problems import Abandoned, NoSuchModel, Refused, TooManyCalls

Result = TypeVar("Result")

LINGER = 1.0
"""Seconds for which the thread that runs waiting calls stays for more of them."""


class _Waiter:
    """A call that waits; `done` is released when it is known how that ends."""

    __slots__ = ("caller", "done", "problem", "result", "work")

    def __init__(self, caller: Caller, work: Callable[[], Any]) -> None:
        self.caller, self.work = caller, work
        self.done = threading.Lock()
        self.done.acquire()
        self.result: Any = None
        self.problem: BaseException | None = None

    def end(self, problem: BaseException | None = None) -> None:
        self.problem = problem
        self.done.release()


class Turns:
    """The turns of one model.

    Args:
        model: its name, for refusals.
        most: calls that may wait.
    """

    def __init__(self, model: str, most: int) -> None:
        self._model, self._most = model, most
        self._lock = threading.Lock()
        self._busy = False
        self._waiting: OrderedDict[str, deque[_Waiter]] = OrderedDict()
        self._count = 0
        self._closed: Callable[[], None] | None = None
        self._runs = False
        self._asked = False
        self._ask = threading.Semaphore(0)

    def run(self, caller: Caller, work: Callable[[], Result]) -> Result:
        """Do something with the model when it is the caller's turn; what came of it.

        Raises:
            TooManyCalls: as many as may wait do so already, and no other client has more of them.
            Abandoned: the caller went away, or its deadline passed, before its turn came.
            NoSuchModel: the model was unloaded meanwhile.
            Exception: what `work` raises.
        """
        waiter = self._take(caller, work)
        if waiter is None:
            try:
                return work()
            finally:
                self._leave()
        client = caller.client
        caller.when_gone(lambda: self._abandon(client, waiter))
        waiter.done.acquire()
        if waiter.problem is not None:
            raise waiter.problem
        result: Result = waiter.result
        return result

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
            waiter.end(self._unloaded())
        if not busy:
            then()

    def _take(self, caller: Caller, work: Callable[[], Any]) -> _Waiter | None:
        """None when it is the caller's turn at once. Raises: TooManyCalls, NoSuchModel."""
        with self._lock:
            if self._closed is not None:
                raise self._unloaded()
            if not self._busy:
                self._busy = True
                return None
            client, waiter = caller.client, _Waiter(caller, work)
            self._make_room(client)
            self._waiting.setdefault(client, deque()).append(waiter)
            self._count += 1
            return waiter

    def _make_room(self, client: str) -> None:
        """With `_lock` held. Raises: TooManyCalls."""
        if self._count < self._most:
            return
        longest = max(self._waiting, key=lambda one: len(self._waiting[one]))
        if len(self._waiting[longest]) <= len(self._waiting.get(client, ())) + 1:
            raise self._full()
        # The one that came last of the client that has the most.
        self._waiting[longest].pop().end(self._full())
        self._count -= 1

    def _leave(self) -> None:
        """The end of a turn that did not have to be waited for."""
        with self._lock:
            if self._waiting:
                self._asked = True
                if not self._runs:
                    self._runs = True
                    threading.Thread(target=self._run_waiting, name=f"model {self._model}", daemon=True).start()
                self._ask.release()
                return
            self._busy = False
            then = self._closed
        if then is not None:
            then()

    def _run_waiting(self) -> None:
        """Run what waits, until nothing does and nobody has asked for more for a while."""
        while True:
            asked = self._ask.acquire(timeout=LINGER)
            with self._lock:
                if not asked and not self._asked:
                    self._runs = False
                    return
                self._asked = False
            if not asked:
                self._ask.acquire()
            waiter = self._next()
            while waiter is not None:
                if waiter.caller.is_gone():
                    waiter.end(Abandoned("the caller is gone"))
                else:
                    try:
                        waiter.result = waiter.work()
                    except BaseException as problem:
                        waiter.end(problem)
                    else:
                        waiter.end()
                # It is kept by its caller's thread alone, with all that it holds, while this one waits for another.
                waiter = self._next()

    def _next(self) -> _Waiter | None:
        """The call whose turn it is; None leaves the model free."""
        with self._lock:
            if self._waiting:
                client, queue = self._waiting.popitem(last=False)
                waiter = queue.popleft()
                self._count -= 1
                if queue:
                    self._waiting[client] = queue  # at the end: everybody else comes first
                return waiter
            self._busy = False
            then = self._closed
        if then is not None:
            then()
        return None

    def _abandon(self, client: str, waiter: _Waiter) -> None:
        with self._lock:
            queue = self._waiting.get(client)
            if queue is None or waiter not in queue:
                return
            queue.remove(waiter)
            self._count -= 1
            if not queue:
                del self._waiting[client]
        waiter.end(Abandoned("the caller is gone"))

    def _full(self) -> Refused:
        return TooManyCalls(f"{self._most} calls wait for model {self._model!r}, and no more may; try again later")

    def _unloaded(self) -> Refused:
        return NoSuchModel(f"model {self._model!r} was unloaded")
