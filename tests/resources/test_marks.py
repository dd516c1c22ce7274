"""Whose a thing is, and which tags it should have."""

from __future__ import annotations

from emflow.engine.resource import Change
from emflow.resources.greengrass.revision import COMPONENTS_TAG, record, recorded
from emflow.resources.ownership import LONGEST_VALUE, Mark, put_and_removed

OURS = {"emflow:workflow": "w", "emflow:resource": "r"}


def test_what_is_made_carries_our_tags_and_the_users():
    assert Mark("w", "r").over(None) == OURS
    assert Mark("w", "r", {"team": "vision"}).over(None) == {**OURS, "team": "vision", "emflow:tags": "team"}


def test_what_others_put_beside_stays_and_what_the_workflow_drops_goes():
    before = Mark("w", "r", {"team": "vision", "site": "hall 3"}).tags()
    there = {**before, "owner": "anna"}
    assert Mark("w", "r", {"site": "hall 4"}).over(there) == {
        **OURS,
        "owner": "anna",
        "site": "hall 4",
        "emflow:tags": "site",
    }
    assert Mark("w", "r").over(there) == {**OURS, "owner": "anna"}


def test_somebody_elses_thing_keeps_its_tags_as_they_are():
    theirs = {"emflow:workflow": "another", "team": "sales"}
    assert Mark("w", "r", {"team": "vision"}).over(theirs) == theirs


def test_the_users_tags_never_stand_in_for_ours():
    assert Mark("w", "r", {"emflow:workflow": "x"}).tags()["emflow:workflow"] == "w"


def test_many_long_keys_still_fit_into_a_tag():
    tags = Mark("w", "r", {f"{number:0100d}": "x" for number in range(5)}).tags()
    assert len(tags["emflow:tags"]) <= LONGEST_VALUE
    assert len(tags["emflow:tags"].split()) == 2


def test_a_change_of_tags_is_what_is_put_and_what_is_removed():
    change = Change("tags", {"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "4"})
    assert put_and_removed(change) == ({"b": "4"}, ["c"])


def test_the_names_of_any_number_of_components_fit_into_tags():
    names = {f"com.example.{'x' * 100}.{number}" for number in range(10)} | {"a"}
    tags = record(names)
    assert all(len(value) <= LONGEST_VALUE and len(key) <= 128 for key, value in tags.items())
    assert recorded({**tags, "team": "vision"}) == names
    assert recorded(record(())) == set()
    assert record(()) == {COMPONENTS_TAG: ""}
