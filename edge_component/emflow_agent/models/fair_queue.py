"""Who uses a model, or loads one, next: one call at a time, clients in turn, and only so many that wait.

A model's runtime takes one call at a time. Each call that waits has a thread of its own and belongs to a client.
Clients take turns, however many calls each has waiting: who sends many at once does not hold up who sends one.

Work that has to wait is done by one thread for all, back to back. If each call did its own, every turn would begin with
waking its thread, which then waits for the interpreter until the one before has sent its answer, and mostly on another
processor, whose caches know nothing of the model: MobileNetV2 for four clients lost a tenth of its rate. Work that need
not wait is done by whoever brings it, which saves it the way to the thread and back.
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
    """A call that waits; `done` is released when it is known how that ends.

    Args:
        work: what to do when its turn comes; None where the call itself does it.
    """

    __slots__ = ("caller", "done", "failure", "made", "work")

    def __init__(self, caller: Caller, work: Callable[[], Any] | None) -> None:
        self.caller, self.work = caller, work
        self.done = threading.Lock()
        self.done.acquire()
        self.made: Any = None
        self.failure: BaseException | None = None

    def do(self) -> None:
        """The work, in its turn. It is not kept: what was sent may be large, and gRPC knows this for a while yet."""
        work, self.work = self.work, None
        assert work is not None
        try:
            if self.caller.is_gone():
                self.failure = _abandoned()
            else:
                self.made = work()
        except BaseException as error:
            self.failure = error

    def wait(self) -> Any:
        """What the work made, once its turn is over; where there is none, nothing, once its turn has come."""
        self.done.acquire()
        self.work = None
        made, self.made = self.made, None
        failure, self.failure = self.failure, None
        if failure is None:
            return made
        try:
            raise failure
        finally:
            # It holds on to this frame, and with it to all that was sent.
            del failure


class FairQueue:
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
        # For the thread that works, which is there as soon as something has waited; None ends it.
        self._inbox: queue.SimpleQueue[_Waiter | None] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None

    def run(self, caller: Caller, work: Callable[[], Returned]) -> Returned:
        """What `work` makes, done in the caller's turn, by this thread or another one.

        Raises:
            TooManyCalls, Abandoned, ModelNotFound: its turn does not come; see `slot`.
            Exception: whatever `work` raises.
        """
        waiter = self._acquire_or_wait(caller, work)
        if waiter is None:
            try:
                return work()
            finally:
                self._pass_on()
        made: Returned = waiter.wait()
        return made

    @contextmanager
    def slot(self, caller: Caller) -> Iterator[None]:
        """The model is the caller's inside the `with`.

        Raises:
            TooManyCalls: as many as may wait do so already, and no other client has more of them.
            Abandoned: the caller went away, or its deadline passed, before its turn came.
            ModelNotFound: the model was unloaded meanwhile.
        """
        waiter = self._acquire_or_wait(caller, None)
        if waiter is not None:
            waiter.wait()
            if caller.is_gone():
                self._pass_on()
                raise _abandoned()
        try:
            yield
        finally:
            self._pass_on()

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
            self._refuse(waiter, self._not_loaded())
        if not busy:
            self._end(then)

    def _acquire_or_wait(self, caller: Caller, work: Callable[[], Any] | None) -> _Waiter | None:
        """Take the turn where nobody has it, and return None; otherwise wait in the queue.

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
        if self._count < self._most:
            return
        longest = max(self._waiting, key=lambda one: len(self._waiting[one]))
        if len(self._waiting[longest]) <= len(self._waiting.get(client, ())) + 1:
            raise self._too_many()
        # The one that came last of the client that has the most.
        self._refuse(self._waiting[longest].pop(), self._too_many())
        self._count -= 1

    def _pass_on(self) -> None:
        """Pass the turn on."""
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
        """Start the thread that works; whether there may be one more. Only who has the turn comes here, so there is no
        second one."""
        worker = threading.Thread(target=self._work, name=f"turns of {self._what}", daemon=True)
        try:
            worker.start()
        except RuntimeError as error:
            # Whoever holds the turn works for the others then, until none waits.
            log.warning("%s: %s; going on without", self._what, error)
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
        """Do what waits, one after the other, until nothing does."""
        while waiter is not None:
            if waiter.work is None:
                waiter.done.release()
                return
            waiter.do()
            done = waiter.done
            try:
                waiter = self._next_waiter()
            finally:
                # Its thread gets the interpreter when the next work lets go of it, as inference does.
                done.release()

    def _next_waiter(self) -> _Waiter | None:
        """Whose turn it is now; where nobody waits, nobody's."""
        with self._lock:
            if self._waiting:
                client, calls = self._waiting.popitem(last=False)
                waiter = calls.popleft()
                self._count -= 1
                if calls:
                    self._waiting[client] = calls  # at the end: everybody else comes first
                return waiter
            self._busy = False
            then = self._closed
        if then is not None:
            self._end(then)
        return None

    def _end(self, then: Callable[[], None]) -> None:
        """Nobody has the turn, and nobody gets it again."""
        try:
            then()
        except Exception as error:
            # Whoever had the last turn has its answer, and nothing to do with this.
            log.error("%s was unloaded, and not let go of: %s: %s", self._what, type(error).__name__, error)
        # Not before: the thread would leave what it is handed undone.
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
        self._refuse(waiter, _abandoned())

    @staticmethod
    def _refuse(waiter: _Waiter, refusal: Refused) -> None:
        waiter.failure = refusal
        waiter.done.release()

    def _too_many(self) -> Refused:
        return TooManyCalls(f"{self._most} calls wait for {self._what}, and no more may; try again later")

    def _not_loaded(self) -> Refused:
        return ModelNotFound(f"{self._what} was unloaded")


def _abandoned() -> CallerGone:
    return CallerGone("the caller is gone")
