"""Plans: what is compared, how it is printed, and what cannot be planned."""

from __future__ import annotations

import threading

import pytest

from emflow.engine.describe import describe, shown
from emflow.engine.plan import make_plan
from emflow.engine.resource import LATER, Action, Change, Diff
from emflow.problems import Problem
from engine.things import World, thing


def refusing(what):
    def refuse():
        raise Problem(what, where="somewhere", mend="mend it")

    return refuse


def test_what_is_missing_is_created_what_differs_is_changed_what_agrees_is_left():
    world = World({"b": {"value": 7}, "c": {"value": 1}})
    plan = make_plan([thing("a"), thing("b"), thing("c")], world)
    assert {step.resource.id: step.diff.action for step in plan.steps} == {
        "a": Action.CREATE,
        "b": Action.UPDATE,
        "c": Action.NONE,
    }
    assert plan.summary() == "Plan: 1 to create, 1 to change, 0 to replace, 1 unchanged"


def test_planning_only_observes():
    world = World()
    make_plan([thing("a"), thing("b", "a")], world)
    assert sorted(world.did) == ["observe a", "observe b"]


def test_everything_is_observed_at_the_same_time():
    meeting = threading.Barrier(8, timeout=5)

    class Meeting(World):
        def note(self, what):
            meeting.wait()  # breaks unless eight are inside at once

    make_plan([thing(f"t{number}") for number in range(8)], Meeting())


def test_an_output_that_does_not_exist_yet_is_known_after_apply():
    plan = make_plan([thing("role"), thing("alias", "role", uses="role")], World({"alias": {"value": 1, "used": "x"}}))
    alias = plan.steps[1].diff
    assert alias.changes == (Change("used", "x", LATER),)
    assert "used: x → (known after apply)" in plan.text()


def test_an_output_that_exists_is_known():
    world = World({"role": {"value": 1}, "alias": {"value": 1, "used": "role!"}})
    assert make_plan([thing("role"), thing("alias", "role", uses="role")], world).changes == ()


def test_the_text_is_a_tree_by_room_with_what_changes():
    world = World({"bucket/b": {"value": {"kept": 1, "old": 2}}, "bucket/c": {"value": 3}})
    things = [
        thing("bucket/a"),
        thing("fleet/x"),
        thing("bucket/b", value={"kept": 1, "old": 5}),
        thing("bucket/c", value=3),
    ]
    assert make_plan(things, world).text().splitlines() == [
        "bucket",
        "  + bucket/a  BUCKET/A",
        "  ~ bucket/b  BUCKET/B",
        "      value.old: 2 → 5",
        "fleet",
        "  + fleet/x   FLEET/X",
        "Plan: 2 to create, 1 to change, 0 to replace, 1 unchanged",
    ]


def test_all_that_cannot_be_planned_is_told_at_once_and_the_same_thing_once():
    things = [
        thing("a", on_diff=refusing("one")),
        thing("b", on_diff=refusing("two")),
    ]
    with pytest.raises(Problem) as refused:
        make_plan(things, World())
    assert "somewhere: one\n  mend it" in str(refused.value)
    assert "somewhere: two\n  mend it" in str(refused.value)

    class Unreachable(World):
        def note(self, what):
            raise Problem("no network")

    with pytest.raises(Problem, match=r"\Ano network\Z"):
        make_plan([thing("a"), thing("b")], Unreachable())


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (1, 2, ["f: 1 → 2"]),
        (None, "x", ["f: (none) → x"]),
        (["a", "b"], ["b", "c"], ["f: + c", "f: - a"]),
        ({"a": {"b": 1}, "c": 1}, {"a": {"b": 2}, "c": 1}, ["f.a.b: 1 → 2"]),
        ({"gone": True}, {}, ["f.gone: true → (none)"]),
    ],
)
def test_a_change_is_told_field_by_field(old, new, lines):
    assert list(describe(Change("f", old, new))) == lines


def test_a_cameras_password_is_not_shown():
    assert shown("rtsp://admin:s3cret@10.0.0.7/1") == "rtsp://admin:******@10.0.0.7/1"
    assert "s3cret" not in shown([{"url": "rtsp://admin:s3cret@10.0.0.7/1"}])


def test_a_resource_that_is_not_there_is_all_change():
    diff = Diff.between({"a": 1, "b": 2}, None)
    assert diff.action is Action.CREATE
    assert diff.changes == (Change("a", None, 1), Change("b", None, 2))
