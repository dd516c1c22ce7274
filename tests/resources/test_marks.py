"""Whose a thing is, and which tags it should have."""

from __future__ import annotations

from emflow.engine.resource import Change
from emflow.resources.greengrass.deployment_records import COMPONENTS_TAG, names_as_tags, names_in_tags
from emflow.resources.ownership import LONGEST_VALUE, Ownership, added_and_removed

OURS = {"emflow:workflow": "w", "emflow:resource": "r"}


def test_what_is_made_carries_our_tags_and_the_users():
    assert Ownership("w", "r").merged_with(None) == OURS
    assert Ownership("w", "r", {"team": "vision"}).merged_with(None) == {
        **OURS,
        "team": "vision",
        "emflow:tags": "team",
    }


def test_what_others_put_beside_stays_and_what_the_workflow_drops_goes():
    before = Ownership("w", "r", {"team": "vision", "site": "hall 3"}).tags()
    there = {**before, "owner": "anna"}
    assert Ownership("w", "r", {"site": "hall 4"}).merged_with(there) == {
        **OURS,
        "owner": "anna",
        "site": "hall 4",
        "emflow:tags": "site",
    }
    assert Ownership("w", "r").merged_with(there) == {**OURS, "owner": "anna"}


def test_somebody_elses_thing_keeps_its_tags_as_they_are():
    theirs = {"emflow:workflow": "another", "team": "sales"}
    assert Ownership("w", "r", {"team": "vision"}).merged_with(theirs) == theirs


def test_the_users_tags_never_stand_in_for_ours():
    assert Ownership("w", "r", {"emflow:workflow": "x"}).tags()["emflow:workflow"] == "w"


def test_many_long_keys_still_fit_into_a_tag():
    tags = Ownership("w", "r", {f"{number:0100d}": "x" for number in range(5)}).tags()
    assert len(tags["emflow:tags"]) <= LONGEST_VALUE
    assert len(tags["emflow:tags"].split()) == 2


def test_a_change_of_tags_is_what_is_put_and_what_is_removed():
    change = Change("tags", {"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "4"})
    assert added_and_removed(change) == ({"b": "4"}, ["c"])


def test_the_names_of_any_number_of_components_fit_into_tags():
    names = {f"com.example.{'x' * 100}.{number}" for number in range(10)} | {"a"}
    tags = names_as_tags(names)
    assert all(len(value) <= LONGEST_VALUE and len(key) <= 128 for key, value in tags.items())
    assert names_in_tags({**tags, "team": "vision"}) == names
    assert names_in_tags(names_as_tags(())) == set()
    assert names_as_tags(()) == {COMPONENTS_TAG: ""}
