"""Applying: order, side by side, failures, and what is told of it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from emflow.engine.apply import apply_plan
from emflow.engine.events import Done, Failed, Planned, Skipped, Started, Waiting
from emflow.engine.plan import make_plan
from emflow.engine.resource import Action
from emflow.problems import Problem
from engine.things import World, thing
from support import until


def run(world, *things):
    """Plan and apply; the events, and the problem if there was one."""
    events: list[Any] = []
    try:
        applied = apply_plan(make_plan(things, world), world, events.append)
    except Problem as problem:
        return events, problem
    return events, applied


def failing(what):
    def fail(run):
        raise Problem(what)

    return fail


def test_what_is_needed_is_there_first_and_its_output_is_known():
    world = World()
    _, applied = run(world, thing("alias", "role", uses="role"), thing("role"))
    assert world.did[-2:] == ["apply role", "apply alias"]
    assert world.there["alias"]["used"] == "role!"
    assert applied.outputs["alias"] == {"made": "alias!"}


def test_the_second_time_nothing_is_done():
    world = World()
    things = [thing("role"), thing("alias", "role", uses="role")]
    run(world, *things)
    world.did.clear()
    events, applied = run(world, *things)
    assert [what for what in world.did if what.startswith("apply")] == []
    assert [type(event) for event in events] == [Planned]
    assert applied.summary() == "0 changes: everything is as the workflow says."


def test_what_is_ready_is_applied_at_the_same_time():
    meeting = threading.Barrier(8, timeout=60)
    things = [thing(f"t{number}", on_apply=lambda run: meeting.wait()) for number in range(8)]
    _, applied = run(World(), *things)
    assert applied.summary().startswith("Applied: 8 created in ")


def test_events_tell_what_starts_waits_and_is_done():
    events, _ = run(World(), thing("job", on_apply=lambda run: run.waiting("INPROGRESS", "queued")))
    assert [type(event) for event in events] == [Planned, Started, Waiting, Done]
    assert events[1] == Started("job", Action.CREATE)
    assert events[2] == Waiting("job", "INPROGRESS", "queued")


def test_after_a_failure_nothing_new_starts_and_the_reason_is_reported():
    world = World()
    events, problem = run(
        world,
        thing("first"),
        thing("broken", "first", on_apply=failing("it broke")),
        thing("after", "broken"),
        thing("long after", "after"),
    )
    assert problem.what == "it broke"
    assert list(world.there) == ["first"]
    assert [event for event in events if isinstance(event, Failed)] == [Failed("broken", problem)]
    assert [event for event in events if isinstance(event, Skipped)] == [
        Skipped("after", "broken"),
        Skipped("long after", "broken"),
    ]


def test_what_was_under_way_when_something_failed_is_finished():
    world = World()
    failed = threading.Event()

    def fail(run):
        failed.set()
        raise Problem("it broke")

    def slow(run):
        assert failed.wait(60)
        run.pause(0.05)  # would end with an exception if the run were being stopped

    run(world, thing("slow", on_apply=slow), thing("broken", on_apply=fail), thing("next", "slow"))
    assert list(world.there) == ["slow"]


def test_the_next_run_goes_on_where_the_failed_one_stopped():
    world = World()
    run(world, thing("a"), thing("b", "a", on_apply=failing("it broke")))
    world.did.clear()
    run(world, thing("a"), thing("b", "a"))
    assert [what for what in world.did if what.startswith("apply")] == ["apply b"]


def test_an_error_of_botocore_becomes_a_problem_with_a_way_out():
    def unreachable(run):
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9/")

    _, problem = run(World(), thing("a", on_apply=unreachable))
    assert "cannot reach http://127.0.0.1:9/" in str(problem)
    assert "AWS_ENDPOINT_URL" in problem.mend


def test_a_change_that_turns_out_to_be_none_is_not_applied():
    """The role is made anew under its old name: what was "known after apply" is what is there already."""
    world = World({"alias": {"value": 1, "used": "role!"}})
    events, applied = run(world, thing("role"), thing("alias", "role", uses="role"))
    assert "apply alias" not in world.did
    assert applied.summary().startswith("Applied: 1 created in ")
    assert [event.action for event in events if isinstance(event, Done)] == [Action.CREATE, Action.NONE]


def test_an_interrupt_ends_what_waits_and_comes_through():
    waiting = threading.Event()
    ended = []

    def wait_for_ever(run):
        waiting.set()
        try:
            run.pause(60)
        finally:
            ended.append(True)

    def interrupt(event):
        if isinstance(event, Started) and event.resource == "other":
            until(waiting.is_set)
            raise KeyboardInterrupt

    plan = make_plan([thing("job", on_apply=wait_for_ever), thing("other")], World())
    with pytest.raises(KeyboardInterrupt):
        apply_plan(plan, World(), interrupt)
    assert ended == [True]
