"""A bounded queue that is fair between clients and lets one call at a time use a model, or load one.

A runtime accepts one call at a time. Each waiting call has its own thread and belongs to a client. The queue serves the
clients round-robin, so a client that sends many calls at once does not delay one that sends a single call.

Waiting work is executed by one worker thread, back to back. If each call executed its own work, every call would start
with a thread switch: the woken thread waits for the interpreter lock while the previous call sends its answer, usually
on another core with cold caches; MobileNetV2 with four clients lost a tenth of its rate. Work that need not wait is
executed directly by the calling thread.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from emflow_agent.errors import CallerGone, ModelNotFound, Refused, TooManyCalls
from emflow_agent.models.caller import Caller

log = logging.getLogger(__name__)

Returned = TypeVar("Returned")


class _Waiter:
    """A waiting call; `done` is released when the work is finished, or the call was refused.

    Args:
        work: what to execute; None where the caller itself does it once it has the slot.
    """

    __slots__ = ("caller", "done", "failure", "result", "work")

    def __init__(self, caller: Caller, work: Callable[[], Any] | None) -> None:
        self.caller, self.work = caller, work
        self.done = threading.Lock()
        self.done.acquire()
        self.result: Any = None
        self.failure: BaseException | None = None

    def do(self) -> None:
        """Execute the work. The reference is dropped: it holds the request, which may be large, and gRPC keeps this
        object."""
        work, self.work = self.work, None
        assert work is not None
        try:
            if self.caller.is_gone():
                self.failure = _caller_gone()
            else:
                self.result = work()
        except BaseException as error:
            self.failure = error

    def wait(self) -> Any:
        """Wait until the work is finished and return its result; without work, until the slot is free (None)."""
        self.done.acquire()
        self.work = None
        result, self.result = self.result, None
        failure, self.failure = self.failure, None
        if failure is None:
            return result
        try:
            raise failure
        finally:
            # The exception refers to this frame, and so to the whole request.
            del failure


class FairQueue:
    """Gives one call at a time the slot of a model, or of another exclusive resource.

    Args:
        name: what the calls wait for, for error messages.
        max_waiting: how many calls may wait.
    """

    def __init__(self, name: str, max_waiting: int) -> None:
        self._name, self._max_waiting = name, max_waiting
        self._lock = threading.Lock()
        self._busy = False
        self._waiting: OrderedDict[str, deque[_Waiter]] = OrderedDict()
        self._count = 0
        self._closed: Callable[[], None] | None = None
        # Input of the worker thread, which is started when a call waits for the first time; None ends it.
        self._inbox: queue.SimpleQueue[_Waiter | None] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None

    def run(self, caller: Caller, work: Callable[[], Returned]) -> Returned:
        """Execute `work` when it is the caller's turn, in this thread or in the worker, and return its result.

        Raises:
            TooManyCalls, CallerGone, ModelNotFound: it was not executed; see `slot`.
            Exception: what `work` raises.
        """
        waiter = self._acquire_or_wait(caller, work)
        if waiter is None:
            try:
                return work()
            finally:
                self._pass_on()
        result: Returned = waiter.wait()
        return result

    @contextmanager
    def slot(self, caller: Caller) -> Iterator[None]:
        """The caller has exclusive use of the model inside the `with`.

        Raises:
            TooManyCalls: the queue is full, and no other client has more waiting calls.
            CallerGone: the caller was gone before it got the slot.
            ModelNotFound: the model was unloaded in the meantime.
        """
        waiter = self._acquire_or_wait(caller, None)
        if waiter is not None:
            waiter.wait()
            if caller.is_gone():
                self._pass_on()
                raise _caller_gone()
        try:
            yield
        finally:
            self._pass_on()

    @property
    def waiting(self) -> int:
        """How many calls are waiting."""
        return self._count

    def close(self, callback: Callable[[], None]) -> None:
        """Refuse all waiting and future calls; `callback` is called when no call uses the model any more."""
        with self._lock:
            self._closed = callback
            waiters = [waiter for queue in self._waiting.values() for waiter in queue]
            self._waiting.clear()
            self._count = 0
            busy = self._busy
        for waiter in waiters:
            self._refuse(waiter, self._not_loaded())
        if not busy:
            self._end(callback)

    def _acquire_or_wait(self, caller: Caller, work: Callable[[], Any] | None) -> _Waiter | None:
        """Take the slot if it is free and return None; otherwise enter the queue.

        Raises:
            TooManyCalls, ModelNotFound: see `slot`.
        """
        with self._lock:
            if self._closed is not None:
                raise self._not_loaded()
            if not self._busy:
                self._busy = True
                return None
            client, waiter = caller.client, _Waiter(caller, work)
            self._check_capacity(client)
            self._waiting.setdefault(client, deque()).append(waiter)
            self._count += 1
        caller.on_gone(lambda: self._abandon(client, waiter))
        return waiter

    def _check_capacity(self, client: str) -> None:
        """With `_lock` held. Raises: TooManyCalls."""
        if self._count < self._max_waiting:
            return
        longest = max(self._waiting, key=lambda one: len(self._waiting[one]))
        if len(self._waiting[longest]) <= len(self._waiting.get(client, ())) + 1:
            raise self._too_many()
        # Refuse the newest call of the client with the most waiting calls.
        self._refuse(self._waiting[longest].pop(), self._too_many())
        self._count -= 1

    def _pass_on(self) -> None:
        """Give the slot to the next call."""
        waiter = self._next_waiter()
        if waiter is None:
            return
        if waiter.work is None:
            waiter.done.release()
            return
        if self._worker is None and not self._start_worker():
            self._run_waiting(waiter)
            return
        self._inbox.put(waiter)

    def _start_worker(self) -> bool:
        """Start the worker thread; False when no more threads can be started. Only the call with the slot gets here, so
        there is never a second worker."""
        worker = threading.Thread(target=self._work, name=f"queue of {self._name}", daemon=True)
        try:
            worker.start()
        except RuntimeError as error:
            # Then the thread that has the slot executes the waiting work too.
            log.warning("%s: %s; continuing without a worker thread", self._name, error)
            return False
        self._worker = worker
        return True

    def _work(self) -> None:
        while True:
            waiter = self._inbox.get()
            if waiter is None:
                return
            self._run_waiting(waiter)

    def _run_waiting(self, waiter: _Waiter | None) -> None:
        """Execute waiting work, one call after the other, until the queue is empty."""
        while waiter is not None:
            if waiter.work is None:
                waiter.done.release()
                return
            waiter.do()
            done = waiter.done
            try:
                waiter = self._next_waiter()
            finally:
                # Its thread runs when the next work releases the interpreter lock, as inference does.
                done.release()

    def _next_waiter(self) -> _Waiter | None:
        """The next call in round-robin order; None, and the slot becomes free, when no call waits."""
        with self._lock:
            if self._waiting:
                client, calls = self._waiting.popitem(last=False)
                waiter = calls.popleft()
                self._count -= 1
                if calls:
                    self._waiting[client] = calls  # to the end of the round
                return waiter
            self._busy = False
            callback = self._closed
        if callback is not None:
            self._end(callback)
        return None

    def _end(self, callback: Callable[[], None]) -> None:
        """The slot is free for the last time: run the close callback and end the worker."""
        try:
            callback()
        except Exception as error:
            # The last call already has its answer; this error is not part of it.
            log.error("%s was unloaded, but not released: %s: %s", self._name, type(error).__name__, error)
        # Last: the worker would not execute what it still gets.
        self._inbox.put(None)

    def _abandon(self, client: str, waiter: _Waiter) -> None:
        with self._lock:
            calls = self._waiting.get(client)
            if calls is None or waiter not in calls:
                return
            calls.remove(waiter)
            self._count -= 1
            if not calls:
                del self._waiting[client]
        self._refuse(waiter, _caller_gone())

    @staticmethod
    def _refuse(waiter: _Waiter, refusal: Refused) -> None:
        waiter.failure = refusal
        waiter.done.release()

    def _too_many(self) -> Refused:
        return TooManyCalls(f"{self._max_waiting} calls already wait for {self._name}; try again later")

    def _not_loaded(self) -> Refused:
        return ModelNotFound(f"{self._name} was unloaded")


def _caller_gone() -> CallerGone:
    return CallerGone("the caller is gone")
