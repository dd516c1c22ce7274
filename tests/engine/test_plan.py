"""Plans: what is compared, how it is printed, and what cannot be planned."""

from __future__ import annotations

import threading

import pytest

from emflow.engine.plan import make_plan
from emflow.engine.plan_text import describe, shown
from emflow.engine.resource import KNOWN_AFTER_APPLY, Action, Change, Diff
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
    meeting = threading.Barrier(8, timeout=60)

    class Meeting(World):
        def note(self, what):
            meeting.wait()  # breaks unless eight are inside at once

    make_plan([thing(f"t{number}") for number in range(8)], Meeting())


def test_an_output_that_does_not_exist_yet_is_known_after_apply():
    plan = make_plan([thing("role"), thing("alias", "role", uses="role")], World({"alias": {"value": 1, "used": "x"}}))
    alias = plan.steps[1].diff
    assert alias.changes == (Change("used", "x", KNOWN_AFTER_APPLY),)
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


def test_all_that_cannot_be_planned_is_reported_at_once_and_the_same_thing_once():
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
        ([], [""], ['f: + ""']),
        ("", "x", ['f: "" → x']),
        (None, [], ["f: (none) → []"]),
        (["a", "b"], ["b", "a"], ['f: ["a", "b"] → ["b", "a"]']),
        ([{"name": "a", "x": 1}, {"name": "b"}], [{"name": "b"}, {"name": "a", "x": 2}], ["f[a].x: 1 → 2"]),
        ([{"x": 1}, {"x": 2}], [{"x": 1}, {"x": 3}, {"x": 4}], ["f[1].x: 2 → 3", 'f: + {"x": 4}']),
        ([{"ID": "a"}], [{"ID": "b"}], ['f: + {"ID": "b"}', 'f: - {"ID": "a"}']),
        ({"token": "one"}, {"token": "two"}, ["f.token: *** (what differs is not shown)"]),
        ("\x1b[31m", "b\n::error::c", [r"f: \x1b[31m → b\n::error::c"]),
    ],
)
def test_a_change_is_reported_field_by_field(old, new, lines):
    assert list(describe(Change("f", old, new))) == lines


LONG = "arn:aws:s3:::a-bucket-with-a-long-name/" + "x" * 60
POLICY = {"Sid": "TlsOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ["arn:aws:s3:::b", LONG]}


def test_of_a_policys_statement_what_differs_is_reported_and_nothing_else():
    new = {**POLICY, "Effect": "Allow", "Resource": ["arn:aws:s3:::b", LONG + "/new"]}
    other = {"Sid": "Other", "Effect": "Allow"}
    assert list(describe(Change("policy", {"Statement": [POLICY, other]}, {"Statement": [other, new]}))) == [
        "policy.Statement[TlsOnly].Effect: Deny → Allow",
        f"policy.Statement[TlsOnly].Resource: + …{'x' * 16}/new",
        f"policy.Statement[TlsOnly].Resource: - …{'x' * 16}",
    ]


@pytest.mark.parametrize(("old", "new"), [(LONG + "a", LONG + "b"), (LONG, LONG + "b" * 200), (LONG + "a" * 200, LONG)])
def test_long_values_are_never_cut_before_what_differs(old, new):
    (line,) = describe(Change("f", old, new))
    before, after = line.removeprefix("f: ").split(" → ")
    assert before != after
    come, gone = (line.removeprefix("f: ")[2:] for line in describe(Change("f", [old], [new])))
    assert (gone, come) == (before, after)
    assert max(map(len, (before, after))) < 80


def test_a_cameras_password_is_not_shown():
    assert shown("rtsp://admin:s3cret@10.0.0.7/1") == "rtsp://admin:***@10.0.0.7/1"
    assert "s3cret" not in shown([{"url": "rtsp://admin:s3cret@10.0.0.7/1"}])


def test_a_resource_that_is_not_there_is_all_change():
    diff = Diff.between({"a": 1, "b": 2}, None)
    assert diff.action is Action.CREATE
    assert diff.changes == (Change("a", None, 1), Change("b", None, 2))
