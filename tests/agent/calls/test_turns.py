"""Turns of a model: fair between clients, only so many, and none for a caller that is gone."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from emflow_agent.calls.turns import Turns
from emflow_agent.problems import Abandoned, NoSuchModel, Refused, TooManyCalls
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

    def when_gone(self, then: Callable[[], None]) -> None:
        self._then = then
        if self._gone:
            then()

    def hang_up(self) -> None:
        self._gone = True
        if self._then is not None:
            self._then()

    def start(self, turns: Turns, waits: bool = True) -> Call:
        """Ask for a turn in a thread of its own; `waits`: returns when it waits, or was refused."""
        before = turns.waiting

        def run() -> None:
            try:
                with turns.turn(self):
                    self._order.append(self.client)
            except Refused as refusal:
                self.refusal = refusal

        self.thread = threading.Thread(target=run)
        self.thread.start()
        if waits:
            until(lambda: turns.waiting != before or not self.thread.is_alive(), what="a call that waits")
        return self

    def ended(self) -> Call:
        self.thread.join(20)
        assert not self.thread.is_alive()
        return self


def test_clients_take_turns_however_many_calls_each_has_waiting() -> None:
    turns, order = Turns("a", most=64), []
    with turns.turn(Call("holder")):
        calls = [Call(client, order).start(turns) for client in ["greedy"] * 6 + ["modest"] * 2 + ["third"]]
    for call in calls:
        call.ended()
    assert order == ["greedy", "modest", "third", "greedy", "modest", "greedy", "greedy", "greedy", "greedy"]


def test_one_call_at_a_time() -> None:
    turns, at_once, most = Turns("a", most=64), [0], [0]

    def use() -> None:
        for _ in range(50):
            with turns.turn(Call("c")):
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
    turns = Turns("model 'a-model'", most=2)
    with turns.turn(Call("holder")):
        waiting = [Call("one").start(turns) for _ in range(2)]
        with pytest.raises(TooManyCalls, match="2 calls wait for model 'a-model'"), turns.turn(Call("one")):
            pytest.fail("it got a turn")
    assert [call.ended().refusal for call in waiting] == [None, None]


def test_a_full_queue_makes_room_for_a_client_that_has_less_of_it() -> None:
    turns = Turns("a", most=3)
    with turns.turn(Call("holder")):
        greedy = [Call("greedy").start(turns) for _ in range(3)]
        modest = Call("modest").start(turns, waits=False)
        # The greedy one's last call went; what it had waiting for longer stays.
        assert isinstance(greedy[2].ended().refusal, TooManyCalls)
    assert [call.ended().refusal for call in (*greedy[:2], modest)] == [None] * 3


def test_a_caller_that_goes_while_it_waits_gets_no_turn() -> None:
    turns, order = Turns("a", most=8), []
    with turns.turn(Call("holder")):
        gone, stays = Call("gone", order).start(turns), Call("stays", order).start(turns)
        gone.hang_up()
        assert isinstance(gone.ended().refusal, Abandoned)
        assert turns.waiting == 1
    stays.ended()
    assert order == ["stays"]


def test_a_caller_that_was_gone_before_it_waited_gets_no_turn() -> None:
    turns = Turns("a", most=8)
    with turns.turn(Call("holder")):
        gone = Call("gone")
        gone.hang_up()
        assert isinstance(gone.start(turns).ended().refusal, Abandoned)


def test_a_turn_that_comes_as_its_caller_goes_is_passed_on() -> None:
    turns, order = Turns("a", most=8), []

    class GoneUnnoticed(Call):
        def when_gone(self, then: Callable[[], None]) -> None:
            self._gone = True  # and nobody is told

    with turns.turn(Call("holder")):
        gone, stays = GoneUnnoticed("gone", order).start(turns), Call("stays", order).start(turns)
    assert isinstance(gone.ended().refusal, Abandoned)
    stays.ended()
    assert order == ["stays"]


def test_closing_refuses_who_waits_and_waits_for_who_runs() -> None:
    turns, closed = Turns("a", most=8), []
    with turns.turn(Call("holder")):
        waiting = Call("waiting").start(turns)
        turns.close(lambda: closed.append(True))
        assert isinstance(waiting.ended().refusal, NoSuchModel)
        assert not closed
    assert closed == [True]
    with pytest.raises(NoSuchModel, match="a was unloaded"), turns.turn(Call("late")):
        pytest.fail("it got a turn")


def test_closing_what_nobody_uses_is_done_at_once() -> None:
    closed: list[bool] = []
    Turns("a", most=8).close(lambda: closed.append(True))
    assert closed == [True]
