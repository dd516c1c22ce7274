"""The order of resources."""

from __future__ import annotations

import pytest

from emflow.engine.scheduler import in_dependency_order
from engine.things import thing


def names(*things):
    return [each.id for each in in_dependency_order(things)]


def test_each_comes_after_what_it_needs():
    assert names(thing("c", "b"), thing("b", "a"), thing("a")) == ["a", "b", "c"]


def test_what_needs_nothing_of_each_other_keeps_its_order():
    assert names(thing("z"), thing("m"), thing("a", "z")) == ["z", "m", "a"]


def test_a_circle_is_named():
    with pytest.raises(ValueError, match=r"circle: (a → b → a|b → a → b)"):
        names(thing("a", "b"), thing("b", "a"))


def test_a_need_that_nobody_makes_is_named():
    with pytest.raises(ValueError, match="a needs b, which nobody makes"):
        names(thing("a", "b"))


def test_two_of_the_same_id_are_refused():
    with pytest.raises(ValueError, match="two resources are called a"):
        names(thing("a"), thing("a"))
