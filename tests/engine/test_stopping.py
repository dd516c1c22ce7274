"""Asking a run to stop: what is finished, what is left, and that nobody waits for an answer that never comes."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from emflow.engine.apply import apply_plan
from emflow.engine.cancellation import Cancellation, Cancelled, Interrupted
from emflow.engine.events import Done, Left, Skipped
from emflow.engine.lock import Lock
from emflow.engine.plan import make_plan
from emflow.engine.scheduler import THREADS, run_parallel
from emflow.problems import Problem
from engine.shelf import Shelf
from engine.things import World, thing


def asking(cancellation, why="interrupted by Ctrl-C", code=130):
    return lambda run: cancellation.request(why, code)


def run(cancellation, world, *things):
    """Plan and apply; the events, and what came out."""
    events: list[Any] = []
    try:
        return events, apply_plan(make_plan(things, world), world, events.append, cancellation)
    except Problem as problem:
        return events, problem


def test_what_is_being_done_is_finished_and_nothing_new_begins():
    cancellation, world = Cancellation(), World()
    _, stopped = run(cancellation, world, thing("a", on_apply=asking(cancellation)), thing("b", "a"), thing("c", "b"))
    assert isinstance(stopped, Interrupted)
    assert list(world.there) == ["a"]
    assert stopped.exit_code == 130
    assert stopped.not_begun == ("b", "c")
    assert str(stopped).splitlines() == [
        "interrupted by Ctrl-C",
        "  not begun: b, c",
        "  Run it again: it continues from there.",
    ]


def test_what_is_only_waited_for_is_left_with_the_state_it_had():
    cancellation, world = Cancellation(), World()

    def job(run):
        run.waiting("INPROGRESS", "compiling")
        cancellation.request("interrupted by Ctrl-C", 130)
        run.pause(60)

    events, stopped = run(cancellation, world, thing("job", on_apply=job), thing("after", "job"))
    assert stopped.in_flight == {"job": "INPROGRESS"}
    assert "in flight, and continuing in AWS: job (INPROGRESS)" in str(stopped)
    assert [event.state for event in events if isinstance(event, Left)] == ["INPROGRESS"]
    assert not [event for event in events if isinstance(event, Skipped)]
    assert not world.there


def test_being_asked_when_everything_is_done_changes_nothing():
    cancellation, world = Cancellation(), World()
    events, applied = run(cancellation, world, thing("only", on_apply=asking(cancellation)))
    assert applied.summary().startswith("Applied: 1 created")
    assert [event.resource for event in events if isinstance(event, Done)] == ["only"]


def test_what_failed_meanwhile_is_reported_too():
    cancellation, world = Cancellation(), World()

    def fail(run):
        cancellation.request("asked to end (SIGTERM)", 143)
        raise Problem("it broke")

    _, stopped = run(cancellation, world, thing("a", on_apply=fail), thing("b", "a"))
    assert stopped.failed == ("a",)
    assert stopped.exit_code == 143


def test_the_first_request_counts_and_later_ones_change_nothing():
    cancellation = Cancellation()
    assert cancellation.request("the first", 130)
    assert not cancellation.request("the second", 143)
    assert (cancellation.reason, cancellation.exit_code) == ("the first", 130)
    with pytest.raises(Cancelled):
        cancellation.pause(60)


def test_planning_does_not_wait_for_an_answer_that_never_comes():
    cancellation, answered = Cancellation(), threading.Event()

    class Silent(World):
        def note(self, what):
            cancellation.request("interrupted by Ctrl-C", 130)
            answered.wait(60)

    began = time.monotonic()
    with pytest.raises(Interrupted, match=r"interrupted by Ctrl-C") as stopped:
        make_plan([thing("a"), thing("b")], Silent(), cancellation)
    assert time.monotonic() - began < 20
    assert "Nothing was changed." in str(stopped.value)
    answered.set()


def test_reads_that_were_not_begun_are_given_up():
    cancellation, answered = Cancellation(), threading.Event()
    begun = []

    def read(number):
        begun.append(number)
        cancellation.request("enough", 1)
        answered.wait(60)

    with pytest.raises(Cancelled):
        run_parallel(read, range(100), cancellation)
    answered.set()
    assert len(begun) <= THREADS


def test_the_second_look_under_the_lock_does_not_wait_for_an_answer_that_never_comes():
    cancellation, answered, world = Cancellation(), threading.Event(), World()
    things = [thing("bucket"), thing("after", "bucket")]
    planned = make_plan(things, world)

    class Silent(World):
        def note(self, what):
            cancellation.request("interrupted by Ctrl-C", 130)
            answered.wait(60)

    shelf = Shelf()
    with pytest.raises(Interrupted) as stopped:
        apply_plan(planned, Silent(), cancellation=cancellation, lock=Lock(shelf))
    assert stopped.value.not_begun == ("bucket", "after")
    assert shelf.writes > 0
    assert shelf.found is None
    answered.set()
