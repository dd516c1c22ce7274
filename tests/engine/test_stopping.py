"""Asking a run to stop: what is finished, what is left, and that nobody waits for an answer that never comes."""

from __future__ import annotations

import threading
import time
from typing import Any, cast

import pytest

from emflow.engine.apply import apply_plan
from emflow.engine.cancellation import Interrupted, Stop, Stopped
from emflow.engine.events import Done, Left, Skipped
from emflow.engine.plan import make_plan
from emflow.engine.scheduler import THREADS, each
from emflow.problems import Problem
from engine.things import World, thing


def asking(stop, why="interrupted by Ctrl-C", code=130):
    return lambda run: stop.ask(why, code)


def run(stop, world, *things):
    """Plan and apply; the events, and what came out."""
    events: list[Any] = []
    try:
        return events, apply_plan(make_plan(things, world), world, events.append, stop)
    except Problem as problem:
        return events, problem


def test_what_is_being_done_is_finished_and_nothing_new_begins():
    stop, world = Stop(), World()
    _, stopped = run(stop, world, thing("a", on_apply=asking(stop)), thing("b", "a"), thing("c", "b"))
    assert isinstance(stopped, Interrupted)
    assert list(world.there) == ["a"]
    assert stopped.exit_code == 130
    assert stopped.undone == ("b", "c")
    assert str(stopped).splitlines() == [
        "interrupted by Ctrl-C",
        "  not begun: b, c",
        "  Run it again: it goes on from there.",
    ]


def test_what_is_only_waited_for_is_left_with_the_state_it_had():
    stop, world = Stop(), World()

    def job(run):
        run.waiting("INPROGRESS", "compiling")
        stop.ask("interrupted by Ctrl-C", 130)
        run.pause(60)

    events, stopped = run(stop, world, thing("job", on_apply=job), thing("after", "job"))
    assert stopped.left == {"job": "INPROGRESS"}
    assert "in flight, and going on in AWS: job (INPROGRESS)" in str(stopped)
    assert [event.state for event in events if isinstance(event, Left)] == ["INPROGRESS"]
    assert not [event for event in events if isinstance(event, Skipped)]
    assert not world.there


def test_being_asked_when_everything_is_done_changes_nothing():
    stop, world = Stop(), World()
    events, applied = run(stop, world, thing("only", on_apply=asking(stop)))
    assert applied.summary().startswith("Applied: 1 created")
    assert [event.resource for event in events if isinstance(event, Done)] == ["only"]


def test_what_failed_meanwhile_is_told_too():
    stop, world = Stop(), World()

    def fail(run):
        stop.ask("asked to end (SIGTERM)", 143)
        raise Problem("it broke")

    _, stopped = run(stop, world, thing("a", on_apply=fail), thing("b", "a"))
    assert stopped.failed == ("a",)
    assert stopped.exit_code == 143


def test_the_first_who_asks_is_told_of_and_later_ones_change_nothing():
    stop = Stop()
    assert stop.ask("the first", 130)
    assert not stop.ask("the second", 143)
    assert (stop.why, stop.exit_code) == ("the first", 130)
    with pytest.raises(Stopped):
        stop.pause(60)


def test_planning_does_not_wait_for_an_answer_that_never_comes():
    stop, answered = Stop(), threading.Event()

    class Silent(World):
        def note(self, what):
            stop.ask("interrupted by Ctrl-C", 130)
            answered.wait(60)

    began = time.monotonic()
    with pytest.raises(Interrupted, match=r"interrupted by Ctrl-C") as stopped:
        make_plan([thing("a"), thing("b")], Silent(), stop)
    assert time.monotonic() - began < 5
    assert "Nothing was changed." in str(stopped.value)
    answered.set()


def test_reads_that_were_not_begun_are_given_up():
    stop, answered = Stop(), threading.Event()
    begun = []

    def read(number):
        begun.append(number)
        stop.ask("enough", 1)
        answered.wait(60)

    with pytest.raises(Stopped):
        each(read, range(100), stop)
    answered.set()
    assert len(begun) <= THREADS


def test_the_second_look_under_the_lock_does_not_wait_for_an_answer_that_never_comes():
    stop, answered, world = Stop(), threading.Event(), World()
    things = [thing("bucket"), thing("after", "bucket")]
    planned = make_plan(things, world)

    class Silent(World):
        def note(self, what):
            stop.ask("interrupted by Ctrl-C", 130)
            answered.wait(60)

    class Open:
        needs = "bucket"

        def __enter__(self):
            return self

        def __exit__(self, *_):
            released.append(True)

        def acquire(self):
            return True

    released: list[Any] = []
    with pytest.raises(Interrupted) as stopped:
        apply_plan(planned, Silent(), stop=stop, lock=cast("Any", Open()))
    assert stopped.value.undone == ("bucket", "after")
    assert released == [True]
    answered.set()
