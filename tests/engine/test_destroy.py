"""Taking down: the order, and what stays."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from emflow.engine.cancellation import Cancellation, Interrupted
from emflow.engine.destroy import plan_removal, remove
from emflow.engine.events import Done, Failed, Left, Skipped
from emflow.engine.resource import Retention
from emflow.problems import Problem
from engine.things import World, thing


def everything(*names):
    return World({name: {"value": 1} for name in names})


def test_what_needs_goes_before_what_is_needed():
    world = everything("a", "b", "c")
    remove(plan_removal([thing("a"), thing("b", "a"), thing("c", "b")], world), world)
    assert world.did[-3:] == ["delete c", "delete b", "delete a"]


def test_what_is_not_there_is_not_mentioned():
    removal = plan_removal([thing("a"), thing("b")], everything("a"))
    assert [each.id for each in removal.to_remove] == ["a"]
    assert removal.to_keep == ()


def test_retained_resources_have_a_reason_and_data_goes_only_on_request():
    things = [thing("bucket", keep=Retention.because("it holds data")), thing("fleet", "bucket")]
    removal = plan_removal(things, everything("bucket", "fleet"))
    assert removal.text().splitlines() == [
        "  - fleet  FLEET",
        "  = kept: bucket (it holds data)",
        "Plan: 1 to remove",
    ]
    removal = plan_removal(things, everything("bucket", "fleet"), delete_data=True)
    assert [each.id for each in removal.to_remove] == ["fleet", "bucket"]


def test_what_is_kept_for_one_reason_is_said_in_one_line():
    things = [
        thing("a", keep=Retention.because("it holds data")),
        thing("b", keep=Retention.because("it holds data")),
        thing("c", keep=Retention.because("not ours")),
    ]
    assert plan_removal(things, everything("a", "b", "c")).text().splitlines() == [
        "  = kept: c (not ours)",
        "  = kept: b, a (it holds data)",
        "Nothing to remove.",
    ]


def test_what_cannot_be_removed_keeps_what_it_needs_and_nothing_else():
    def fail(run):
        raise Problem("still in use")

    world = everything("a", "b", "c", "d")
    events: list[Any] = []
    things = [thing("a"), thing("b", "a"), thing("c", "b", on_apply=fail), thing("d")]
    with pytest.raises(Problem, match="still in use"):
        remove(plan_removal(things, world), world, events.append)
    assert list(world.there) == ["a", "b", "c"]
    assert [event for event in events if isinstance(event, Skipped)] == [Skipped("b", "c"), Skipped("a", "c")]


def test_a_failure_leaves_the_rest_as_it_is():
    def fail(run):
        raise Problem("still in use")

    world = everything("a", "b", "c")
    events: list[Any] = []
    things = [thing("a"), thing("b", "a", on_apply=fail), thing("c", "b")]
    with pytest.raises(Problem, match="still in use"):
        remove(plan_removal(things, world), world, events.append)
    assert list(world.there) == ["a", "b"]
    assert [event.resource for event in events if isinstance(event, Done)] == ["c"]
    assert [event.resource for event in events if isinstance(event, Failed)] == ["b"]
    assert [event for event in events if isinstance(event, Skipped)] == [Skipped("a", "b")]


def test_asked_to_stop_it_says_what_is_left_half_way_and_what_was_not_begun():
    world, cancellation = everything("a", "b", "c"), Cancellation()
    events: list[Any] = []

    def slowly(run):
        run.waiting("emptying", "1000 objects removed")
        cancellation.request("interrupted by Ctrl-C", 130)
        run.pause(0)

    removal = plan_removal([thing("a"), thing("b", "a", on_apply=slowly), thing("c", "b")], world)
    with pytest.raises(Interrupted) as stopped:
        remove(removal, world, events.append, cancellation)
    assert str(stopped.value).splitlines() == [
        "interrupted by Ctrl-C",
        "  left unfinished: b (emptying)",
        "  not begun: a",
        "  Run it again: it continues from there.",
    ]
    assert [event.resource for event in events if isinstance(event, Left)] == ["b"]
    assert list(world.there) == ["a", "b"]


def test_looking_for_what_there_is_does_not_wait_for_an_answer_that_never_comes():
    cancellation, answered = Cancellation(), threading.Event()

    class Silent(World):
        def note(self, what):
            cancellation.request("interrupted by Ctrl-C", 130)
            answered.wait(60)

    with pytest.raises(Interrupted, match=r"Nothing was removed"):
        plan_removal([thing("a"), thing("b")], Silent(), cancellation=cancellation)
    answered.set()


def test_what_others_use_stays_with_what_it_needs_and_says_why():
    things = [
        thing("role"),
        thing("bucket"),
        thing("fleet", "role", keep=Retention.used_by_others("others use it")),
        thing("alias", "role"),
    ]
    removal = plan_removal(things, everything("role", "bucket", "fleet", "alias"))
    assert {each.id for each in removal.to_remove} == {"bucket", "alias"}
    assert {each.id: why for each, why in removal.to_keep} == {
        "fleet": "others use it",
        "role": "fleet stays, and needs it",
    }
