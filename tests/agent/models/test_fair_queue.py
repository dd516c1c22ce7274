"""Turns of a model: fair between clients, only so many, and none for a caller that is gone."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from emflow_agent.errors import CallerGone, ModelNotFound, Refused, TooManyCalls
from emflow_agent.models.fair_queue import FairQueue
from support import until


class Call:
    """A caller whose end can be brought about, and who notes when it had its turn."""

    def __init__(self, client: str, order: list[str] | None = None) -> None:
        self.client = client
        self._order = order if order is not None else []
        self._gone = False
        self._then: Callable[[], None] | None = None
        self.refusal: Refused | None = None
        self.thread: threading.Thread | None = None

    def is_gone(self) -> bool:
        return self._gone

    def on_gone(self, then: Callable[[], None]) -> None:
        self._then = then
        if self._gone:
            then()

    def hang_up(self) -> None:
        self._gone = True
        if self._then is not None:
            self._then()

    def start(self, turns: FairQueue, waits: bool = True) -> Call:
        """Ask for a turn in a thread of its own; `waits`: returns when it waits, or was refused."""
        before = turns.waiting

        def run() -> None:
            try:
                with turns.slot(self):
                    self._order.append(self.client)
            except Refused as refusal:
                self.refusal = refusal

        self.thread = thread = threading.Thread(target=run)
        thread.start()
        if waits:
            until(lambda: turns.waiting != before or not thread.is_alive(), what="a call that waits")
        return self

    def ended(self) -> Call:
        assert self.thread
        self.thread.join(20)
        assert not self.thread.is_alive()
        return self


def test_clients_take_turns_however_many_calls_each_has_waiting() -> None:
    turns = FairQueue("a", max_waiting=64)
    order: list[Any] = []
    with turns.slot(Call("holder")):
        calls = [Call(client, order).start(turns) for client in ["greedy"] * 6 + ["modest"] * 2 + ["third"]]
    for call in calls:
        call.ended()
    assert order == ["greedy", "modest", "third", "greedy", "modest", "greedy", "greedy", "greedy", "greedy"]


def test_one_call_at_a_time() -> None:
    turns, at_once, most = FairQueue("a", max_waiting=64), [0], [0]

    def use() -> None:
        for _ in range(50):
            with turns.slot(Call("c")):
                at_once[0] += 1
                most[0] = max(most[0], at_once[0])
                at_once[0] -= 1

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (most[0], at_once[0], turns.waiting) == (1, 0, 0)


def test_more_than_may_wait_are_refused() -> None:
    turns = FairQueue("model 'a-model'", max_waiting=2)
    with turns.slot(Call("holder")):
        waiting = [Call("one").start(turns) for _ in range(2)]
        with pytest.raises(TooManyCalls, match="2 calls already wait for model 'a-model'"), turns.slot(Call("one")):
            pytest.fail("it got a turn")
    assert [call.ended().refusal for call in waiting] == [None, None]


def test_a_full_queue_makes_room_for_a_client_that_has_less_of_it() -> None:
    turns = FairQueue("a", max_waiting=3)
    with turns.slot(Call("holder")):
        greedy = [Call("greedy").start(turns) for _ in range(3)]
        modest = Call("modest").start(turns, waits=False)
        # The greedy one's last call went; what it had waiting for longer stays.
        assert isinstance(greedy[2].ended().refusal, TooManyCalls)
    assert [call.ended().refusal for call in (*greedy[:2], modest)] == [None] * 3


def test_a_caller_that_goes_while_it_waits_gets_no_turn() -> None:
    turns = FairQueue("a", max_waiting=8)
    order: list[Any] = []
    with turns.slot(Call("holder")):
        gone, stays = Call("gone", order).start(turns), Call("stays", order).start(turns)
        gone.hang_up()
        assert isinstance(gone.ended().refusal, CallerGone)
        assert turns.waiting == 1
    stays.ended()
    assert order == ["stays"]


def test_a_caller_that_was_gone_before_it_waited_gets_no_turn() -> None:
    turns = FairQueue("a", max_waiting=8)
    with turns.slot(Call("holder")):
        gone = Call("gone")
        gone.hang_up()
        assert isinstance(gone.start(turns).ended().refusal, CallerGone)


def test_a_turn_that_comes_as_its_caller_goes_is_passed_on() -> None:
    turns = FairQueue("a", max_waiting=8)
    order: list[Any] = []

    class GoneUnnoticed(Call):
        def on_gone(self, then: Callable[[], None]) -> None:
            self._gone = True  # and nobody is told

    with turns.slot(Call("holder")):
        gone, stays = GoneUnnoticed("gone", order).start(turns), Call("stays", order).start(turns)
    assert isinstance(gone.ended().refusal, CallerGone)
    stays.ended()
    assert order == ["stays"]


def test_closing_refuses_who_waits_and_waits_for_who_runs() -> None:
    turns, closed = FairQueue("a", max_waiting=8), []
    with turns.slot(Call("holder")):
        waiting = Call("waiting").start(turns)
        turns.close(lambda: closed.append(True))
        assert isinstance(waiting.ended().refusal, ModelNotFound)
        assert not closed
    assert closed == [True]
    with pytest.raises(ModelNotFound, match="a was unloaded"), turns.slot(Call("late")):
        pytest.fail("it got a turn")


def test_closing_what_nobody_uses_is_done_at_once() -> None:
    closed: list[bool] = []
    FairQueue("a", max_waiting=8).close(lambda: closed.append(True))
    assert closed == [True]


def working(turns: FairQueue) -> list[threading.Thread]:
    return [turns._worker] if turns._worker is not None and turns._worker.is_alive() else []


def brought(turns: FairQueue, work: Callable[..., object], caller: Call | None = None) -> Future[object]:
    """Bring work from a thread of its own, while somebody has the turn; returns when it waits."""
    before, done = turns.waiting, Future[object]()

    def bring() -> None:
        try:
            done.set_result(turns.run(caller or Call("c"), work))
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=bring).start()
    until(lambda: turns.waiting != before or done.done(), what="work that waits")
    return done


def test_work_that_need_not_wait_is_done_by_whoever_brings_it() -> None:
    turns = FairQueue("idle", max_waiting=8)
    assert turns.run(Call("c"), threading.current_thread) is threading.current_thread()
    assert working(turns) == []


def test_work_that_waits_is_done_by_one_thread_in_turn_and_its_result_gets_back() -> None:
    turns, order = FairQueue("busy", max_waiting=64), []

    def work(number: int) -> tuple[int, threading.Thread]:
        order.append(number)
        return number, threading.current_thread()

    with turns.slot(Call("holder")):
        clients = [Call(client) for client in ("greedy", "greedy", "modest")]
        done = [brought(turns, lambda n=n: work(n), client) for n, client in enumerate(clients)]
    results = [one.result(20) for one in done]
    assert results == [(n, working(turns)[0]) for n in range(3)]
    assert order == [0, 2, 1]


def test_a_failure_of_queued_work_is_raised_at_its_caller_and_the_next_runs() -> None:
    turns = FairQueue("failing", max_waiting=8)
    with turns.slot(Call("holder")):
        fails, works = brought(turns, lambda: 1 // 0), brought(turns, lambda: "made")
    assert isinstance(fails.exception(20), ZeroDivisionError)
    assert works.result(20) == "made"


def test_work_of_a_caller_that_is_gone_is_not_done() -> None:
    turns, did = FairQueue("gone", max_waiting=8), []

    class GoneUnnoticed(Call):
        def on_gone(self, then: Callable[[], None]) -> None:
            self._gone = True  # and nobody is told

    with turns.slot(Call("holder")):
        gone = brought(turns, lambda: did.append("gone"), GoneUnnoticed("gone"))
        stays = brought(turns, lambda: did.append("stays"))
    assert isinstance(gone.exception(20), CallerGone)
    assert stays.result(20) is None
    assert did == ["stays"]


def test_turns_that_a_call_takes_itself_and_work_for_others_follow_upon_each_other() -> None:
    turns, order = FairQueue("mixed", max_waiting=8), []
    with turns.slot(Call("holder")):
        first = brought(turns, lambda: order.append("work"), Call("a"))
        itself = Call("itself", order).start(turns)
        second = brought(turns, lambda: order.append("more work"), Call("b"))
    assert [first.result(20), second.result(20)] == [None, None]
    itself.ended()
    assert order == ["work", "itself", "more work"]


def test_closing_ends_the_thread_that_works_when_its_work_is_done() -> None:
    turns, closed, go = FairQueue("ending", max_waiting=8), threading.Event(), threading.Event()
    with turns.slot(Call("holder")):
        runs = brought(turns, lambda: go.wait(60))
    waits = brought(turns, lambda: "never")
    (thread,) = working(turns)
    turns.close(closed.set)
    assert isinstance(waits.exception(20), ModelNotFound)
    assert not closed.is_set()
    go.set()
    assert runs.result(20) is True
    thread.join(20)
    assert not thread.is_alive()
    assert closed.is_set()


def test_closing_while_a_turn_is_passed_on_leaves_nobody_waiting() -> None:
    closed = threading.Event()

    class ClosedMeanwhile(FairQueue):
        def _next_waiter(self) -> Any:
            waiter = super()._next_waiter()
            if waiter is not None:
                self.close(closed.set)
            return waiter

    turns = ClosedMeanwhile("racing", max_waiting=8)
    with turns.slot(Call("holder")):
        done = brought(turns, lambda: "made")
    assert done.result(20) == "made"
    assert closed.wait(60)
    until(lambda: working(turns) == [], what="the end of the thread that works")


def test_where_no_thread_can_be_had_whoever_has_the_turn_works_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    turns, done, here = FairQueue("poor", max_waiting=8), [], threading.current_thread()

    def none_left(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with turns.slot(Call("holder")):
        done = [brought(turns, threading.current_thread, Call(client)) for client in "abc"]
        monkeypatch.setattr(threading.Thread, "start", none_left)
    assert [one.result(20) for one in done] == [here] * 3
    monkeypatch.undo()
    with turns.slot(Call("holder")):
        later = brought(turns, lambda: "made")
    assert later.result(20) == "made"
    turns.close(lambda: None)


def test_work_that_is_done_has_its_answer_even_if_what_closing_does_then_fails() -> None:
    turns, go = FairQueue("failing to end", max_waiting=8), threading.Event()

    def fails() -> None:
        raise MemoryError

    with turns.slot(Call("holder")):
        runs = brought(turns, lambda: go.wait(60))
    turns.close(fails)
    go.set()
    assert runs.result(20) is True


def test_what_was_sent_and_made_is_let_go_of_with_the_call() -> None:
    class Large:
        pass

    turns, caller = FairQueue("large", max_waiting=8), Call("c")
    sent = Large()
    gone = weakref.ref(sent)
    with turns.slot(Call("holder")):
        # The callback of `on_gone` is kept by gRPC for a while after the call.
        done = brought(turns, functools.partial(id, sent), caller)
        del sent
    assert isinstance(done.result(20), int)
    assert caller._then is not None
    until(lambda: gone() is None, what="what was sent to be gone")
    turns.close(lambda: None)
