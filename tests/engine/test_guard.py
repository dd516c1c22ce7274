"""An apply under its lock: what it does, and does not do, when somebody else is or was at it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from emflow.engine.apply import apply_plan
from emflow.engine.cancellation import Cancellation, Cancelled, Interrupted
from emflow.engine.destroy import plan_removal, remove
from emflow.engine.events import Skipped, Warned
from emflow.engine.lock import Lock, LockRecord
from emflow.engine.plan import make_plan
from emflow.problems import Problem
from engine.shelf import Shelf, lost, other
from engine.things import World, thing
from support import until


def test_an_apply_takes_the_lock_before_anything_else_and_lets_go_of_it():
    shelf, world = Shelf(), World()
    held = []
    things = [thing(name, on_apply=lambda run: held.append(shelf.found is not None)) for name in ("a", "b")]
    apply_plan(make_plan(things, world), world, lock=Lock(shelf))
    assert held == [True, True]
    assert shelf.found is None


def test_an_apply_without_anything_to_do_writes_no_lock_and_sweeps_up_a_dead_one():
    shelf, world = Shelf(), World()
    apply_plan(make_plan([thing("a")], world), world)
    apply_plan(make_plan([thing("a")], world), world, lock=Lock(shelf))
    assert shelf.writes == 0
    shelf.put(other(), age=500)
    apply_plan(make_plan([thing("a")], world), world, lock=Lock(shelf))
    assert shelf.found is None
    shelf.put(other())
    apply_plan(make_plan([thing("a")], world), world, lock=Lock(shelf))
    assert shelf.found


def test_where_the_lock_has_no_place_yet_that_is_made_first_and_alone():
    shelf, world = Shelf(there=False), World()

    def make(_):
        shelf.there = True

    things = [thing("a"), thing("bucket", on_apply=make), thing("b")]
    apply_plan(make_plan(things, world), world, lock=Lock(shelf))
    did = [each for each in world.did if each.startswith("apply")]
    assert did[0] == "apply bucket"
    assert sorted(did) == ["apply a", "apply b", "apply bucket"]
    assert shelf.writes == 1


def test_a_place_for_the_lock_that_cannot_be_made_fails_the_apply():
    def fail(_):
        raise Problem("no bucket today")

    shelf, world = Shelf(there=False), World()
    plan = make_plan([thing("bucket", on_apply=fail), thing("a")], world)
    with pytest.raises(Problem, match="no bucket today"):
        apply_plan(plan, world, lock=Lock(shelf))
    assert world.there == {}


def test_what_was_tried_and_failed_is_not_said_to_be_untried_because_of_itself():
    def fail(_):
        raise Problem("no bucket today")

    shelf, world = Shelf(there=False), World()
    events: list[Any] = []
    plan = make_plan([thing("a"), thing("bucket", on_apply=fail), thing("b", "bucket")], world)
    with pytest.raises(Problem, match="no bucket today"):
        apply_plan(plan, world, events.append, lock=Lock(shelf))
    skipped = [event for event in events if isinstance(event, Skipped)]
    assert skipped == [Skipped("a", "bucket"), Skipped("b", "bucket")]


def test_a_place_for_the_lock_that_is_left_unfinished_is_not_said_to_be_untried():
    cancellation = Cancellation()

    def leave(run):
        cancellation.request("test", 1)
        raise Cancelled

    shelf, world = Shelf(there=False), World()
    plan = make_plan([thing("a"), thing("bucket", on_apply=leave)], world)
    with pytest.raises(Interrupted) as caught:
        apply_plan(plan, world, cancellation=cancellation, lock=Lock(shelf))
    assert (caught.value.not_begun, [*caught.value.in_flight]) == (("a",), ["bucket"])


def test_a_part_of_a_workflow_before_its_first_apply_needs_no_lock_and_says_so():
    shelf, world = Shelf(there=False), World()
    events: list[Any] = []
    apply_plan(make_plan([thing("a")], world), world, events.append, lock=Lock(shelf))
    assert "a" in world.there
    (warned,) = [event for event in events if isinstance(event, Warned)]
    assert warned.message == "bucket does not exist yet and is not part of this plan, so there is no lock"


def test_a_run_without_a_lock_ends_where_somebody_else_has_begun():
    shelf, world = Shelf(there=False), World()

    def begin(_):
        shelf.there = True
        shelf.put(other())

    plan = make_plan([thing("a", on_apply=begin), thing("b", "a")], world)
    with pytest.raises(Problem, match="bucket has been created in the meantime") as ended:
        apply_plan(plan, world, lock=Lock(shelf))
    assert "Run it again" in ended.value.mend
    assert list(world.there) == ["a"]
    assert shelf.record.owner == "anna@laptop"


def test_an_apply_that_finds_something_else_to_do_than_was_agreed_changes_nothing():
    shelf, world = Shelf(), World({"a": {"value": 1}})
    plan = make_plan([thing("a"), thing("b")], world)
    world.there["a"]["value"] = 2
    with pytest.raises(Problem, match="AWS has changed since this was planned, so other changes are necessary: a"):
        apply_plan(plan, world, lock=Lock(shelf))
    assert world.there == {"a": {"value": 2}}
    assert shelf.found is None


def test_what_somebody_else_has_done_of_the_plan_meanwhile_is_not_done_again():
    shelf, world = Shelf(), World()
    plan = make_plan([thing("a"), thing("b")], world)
    world.there["a"] = {"value": 1}
    applied = apply_plan(plan, world, lock=Lock(shelf))
    assert [each for each in world.did if each.startswith("apply")] == ["apply b"]
    assert list(applied.actions) == ["b"]


def test_an_apply_that_loses_its_lock_changes_nothing_more():
    shelf, world = Shelf(), World()
    lock = Lock(shelf, dataclasses.replace(LockRecord.of_this_process(), lasts=0.1))

    def lose(_):
        shelf.put(other())
        until(lambda: lost(lock))

    with pytest.raises(Problem, match="took it over"):
        apply_plan(make_plan([thing("a", on_apply=lose), thing("b", "a")], world), world, lock=lock)
    assert list(world.there) == ["a"]


@pytest.mark.parametrize("waiting", [True, False])
def test_an_apply_that_loses_its_lock_stops_before_its_next_change(waiting):
    shelf, world = Shelf(), World()

    def unlocked(run):
        shelf.found = None
        if waiting:
            run.pause(0)

    with pytest.raises(Problem, match="it was removed"):
        apply_plan(make_plan([thing("a", on_apply=unlocked), thing("b", "a")], world), world, lock=Lock(shelf))
    assert list(world.there) == ([] if waiting else ["a"])


def test_a_destroy_that_loses_its_lock_stops_but_may_remove_the_locks_bucket():
    shelf, world = Shelf(), World({"a": {"value": 1}, "b": {"value": 1}, "bucket": {"value": 1}})

    def unlocked(run):
        shelf.found = None
        run.pause(0)

    removal = plan_removal([thing("bucket", on_apply=unlocked)], world)
    remove(removal, world, lock=Lock(shelf))
    removal = plan_removal([thing("a"), thing("b", "a", on_apply=unlocked)], world)
    with pytest.raises(Problem, match="it was removed"):
        remove(removal, world, lock=Lock(shelf))
    assert list(world.there) == ["a", "b"]
