"""The order of resources, in which they are applied and removed."""

from __future__ import annotations

import pytest

from emflow.engine.scheduler import apply_graph, in_dependency_order, removal_graph, with_dependencies
from engine.things import thing


def applied(*things):
    return [each.id for each in in_dependency_order(things, apply_graph(things))]


def removed(*things):
    return [each.id for each in in_dependency_order(things, removal_graph(things))][::-1]


def test_each_comes_after_what_it_needs():
    assert applied(thing("c", "b"), thing("b", "a"), thing("a")) == ["a", "b", "c"]
    assert removed(thing("c", "b"), thing("b", "a"), thing("a")) == ["c", "b", "a"]


def test_what_is_released_comes_later_in_an_apply_and_in_a_removal():
    things = [thing("old"), thing("user", releases=frozenset({"old"}))]
    assert applied(*things) == ["user", "old"]
    assert removed(*things) == ["user", "old"]


def test_what_is_released_and_is_not_there_does_not_matter():
    alone = thing("user", releases=frozenset({"old"}))
    assert applied(alone) == ["user"]
    assert removed(alone) == ["user"]


def test_a_part_of_the_resources_comes_with_everything_that_goes_before_it():
    things = [thing("a"), thing("b", "a", releases=frozenset({"old"})), thing("old"), thing("c")]
    assert [each.id for each in with_dependencies(things, ["old"])] == ["a", "b", "old"]
    assert [each.id for each in with_dependencies(things, ["b"])] == ["a", "b"]


def test_what_needs_nothing_of_each_other_keeps_its_order():
    assert applied(thing("z"), thing("m"), thing("a", "z")) == ["z", "m", "a"]


def test_a_circle_is_named():
    with pytest.raises(ValueError, match=r"circle: (a → b → a|b → a → b)"):
        applied(thing("a", "b"), thing("b", "a"))


def test_a_need_that_nobody_makes_is_named():
    with pytest.raises(ValueError, match="a needs b, which no resource makes"):
        applied(thing("a", "b"))


def test_two_of_the_same_id_are_refused():
    with pytest.raises(ValueError, match="two resources are called a"):
        applied(thing("a"), thing("a"))
