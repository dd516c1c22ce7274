"""Component configuration: reset, then defaults, then merge, and what stays over redeploys."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emflow_emulator.core.configuration import (
    Configuration,
    ConfigurationStore,
    Stale,
    Update,
    changes,
    find,
    leaves,
    merged,
    pointer_keys,
    with_floats,
)

DEFAULTS = {"topic": "em/inference", "model": {"name": "a", "top": "3"}, "list": ["x"]}


def test_a_merge_goes_over_the_defaults_key_by_key() -> None:
    found = Configuration().deployed(DEFAULTS, Update(merge={"model": {"name": "b"}, "list": ["y"], "more": True}))

    assert found.values == {
        "topic": "em/inference",
        "model": {"name": "b", "top": "3"},
        "list": ["y"],
        "more": True,
    }


def test_a_redeploy_that_says_nothing_keeps_what_was_merged() -> None:
    before = Configuration().deployed(DEFAULTS, Update(merge={"topic": "mine"}))

    assert before.deployed(DEFAULTS, Update()).values["topic"] == "mine"


def test_new_defaults_reach_what_nobody_changed() -> None:
    before = Configuration().deployed(DEFAULTS, Update(merge={"topic": "mine"}))
    after = before.deployed({"topic": "new", "model": {"name": "new"}}, Update())

    assert after.values["topic"] == "mine"
    assert after.values["model"] == {"name": "new", "top": "3"}


@pytest.mark.parametrize(
    ("reset", "topic", "name"),
    [(("/topic",), "em/inference", "b"), (("/model/name",), "mine", "a"), (("",), "em/inference", "a")],
)
def test_a_reset_gives_the_default_back(reset: tuple[str, ...], topic: str, name: str) -> None:
    before = Configuration().deployed(DEFAULTS, Update(merge={"topic": "mine", "model": {"name": "b"}}))
    after = before.deployed(DEFAULTS, Update(reset=reset))

    assert after.values["topic"] == topic
    assert after.values["model"]["name"] == name


def test_a_reset_of_everything_removes_unknown_keys_before_the_merge() -> None:
    before = Configuration().deployed(DEFAULTS, Update(merge={"stray": "x", "topic": "mine"}))
    after = before.deployed({"topic": "default"}, Update(reset=[""], merge={"new": "y"}))

    assert after.values == {"topic": "default", "new": "y"}


def test_numbers_turn_into_floats_as_on_a_core() -> None:
    found = Configuration().deployed({"n": 1, "flag": True}, Update(merge={"deep": {"list": [2, "2"]}})).values

    assert found == {"n": 1.0, "flag": True, "deep": {"list": [2.0, "2"]}}
    assert isinstance(found["n"], float)
    assert found["flag"] is True


def test_nothing_is_changed_in_place() -> None:
    over = {"a": {"b": 1}}
    result = merged({"a": {"c": 2}}, over)
    result["a"]["b"] = 3

    assert over == {"a": {"b": 1}}


def test_pointers() -> None:
    assert pointer_keys("") == []
    assert pointer_keys("/a~1b/c~0d") == ["a/b", "c~d"]
    assert find({"a": [{"b": "x"}]}, ["a", "0", "b"]) == "x"
    with pytest.raises(KeyError):
        find({"a": "text"}, ["a", "b"])


def test_the_store_survives_a_restart_of_the_device(tmp_path: Path) -> None:
    path = tmp_path / "configuration.json"
    ConfigurationStore(path).replace({"a": Configuration().deployed(DEFAULTS, Update(merge={"topic": "mine"}))})

    again = ConfigurationStore(path).get("a")
    assert again is not None
    assert again.values["topic"] == "mine"
    assert again.deployed(DEFAULTS, Update(reset=["/topic"])).values["topic"] == "em/inference"
    assert ConfigurationStore(path).get("b") is None


@pytest.mark.parametrize("key", ["²", "9" * 5000, "-1", "7"])
def test_what_is_no_place_in_a_list_is_not_there(key: str) -> None:
    with pytest.raises(KeyError):
        find({"a": ["x"]}, ["a", key])


def test_nobody_else_may_read_the_store(tmp_path: Path) -> None:
    path = tmp_path / "configuration.json"
    path.with_suffix(".new").write_text("left by one that died")
    path.with_suffix(".new").chmod(0o644)
    ConfigurationStore(path).replace({"a": Configuration()})

    assert path.stat().st_mode & 0o777 == 0o600


def test_what_could_not_be_stored_is_not_so(tmp_path: Path) -> None:
    store = ConfigurationStore(tmp_path / "configuration.json")
    store.replace({"a": Configuration()})
    (tmp_path / "configuration.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        store.replace({"b": Configuration()})

    assert store.all().keys() == {"a"}


def test_what_a_component_set_is_kept_over_a_restart_with_its_time(tmp_path: Path) -> None:
    store = ConfigurationStore(tmp_path / "configuration.json")
    store.replace({"app": Configuration().deployed(DEFAULTS, Update())})
    now = time.time()
    store.update("app", ["model"], {"name": "mine"}, now)
    again = ConfigurationStore(tmp_path / "configuration.json")
    found = again.get("app")
    assert found is not None
    assert found.values["model"] == {"name": "mine", "top": "3"}
    with pytest.raises(Stale):
        again.update("app", ["model"], {"name": "older"}, now - 1)
    again.update("app", ["model"], {"top": "5"}, now + 1)

    kept = again.get("app")
    assert kept is not None
    assert kept.deployed(DEFAULTS, Update()).values["model"] == {"name": "mine", "top": "5"}


@pytest.mark.parametrize(
    ("old", "new", "paths"),
    [
        ({}, {"a": {"b": 1.0, "c": {}}}, [["a", "b"]]),
        ({"a": 1.0}, {"a": True}, [["a"]]),
        ({"a": {"b": "x"}}, {"a": "x"}, [["a"]]),
        ({"a": "x"}, {"a": {"b": "x"}}, [["a"]]),
        ({"a": {"b": {"c": "x"}}}, {"a": {}}, [["a", "b"]]),
        ({"a": ["x"]}, {"a": ["x", "y"]}, [["a"]]),
        ({"a": None}, {"a": None}, []),
    ],
)
def test_what_is_different(old: dict[str, object], new: dict[str, object], paths: list[list[str]]) -> None:
    assert list(changes(old, new)) == paths


def test_of_two_updates_the_later_one_counts_whichever_comes_first() -> None:
    first = Configuration().deployed(DEFAULTS, Update(), 100.0)
    own = first.updated([], {"topic": "own", "model": {"more": "own"}}, 200.0)
    for created, topic in ((150.0, "own"), (250.0, "deployed")):
        after = own.deployed(DEFAULTS, Update(merge={"topic": "deployed"}), created)
        assert after.values["topic"] == topic
        assert after.values["model"]["more"] == "own"
    assert own.deployed(DEFAULTS, Update(reset=[""]), 150.0).values["topic"] == "own"
    assert own.deployed(DEFAULTS, Update(reset=[""]), 250.0).values == with_floats(DEFAULTS)
    with pytest.raises(Stale):
        own.deployed(DEFAULTS, Update(merge={"topic": "deployed"}), 250.0).updated([], {"topic": "late"}, 240.0)


def test_a_value_that_was_confirmed_counts_as_set_then() -> None:
    first = Configuration().deployed(DEFAULTS, Update(merge={"topic": "same"}), 100.0)
    own = first.updated([], {"topic": "same"}, 200.0)
    assert own.deployed(DEFAULTS, Update(merge={"topic": "older"}), 150.0).values["topic"] == "same"
    deployed = first.deployed(DEFAULTS, Update(merge={"topic": "same"}), 200.0)
    with pytest.raises(Stale):
        deployed.updated([], {"topic": "older"}, 150.0)


def test_a_newer_value_stays_where_a_deployment_has_another_structure() -> None:
    own = Configuration().deployed({}, Update(merge={"a": {"b": "x"}}), 100.0).updated(["a"], {"b": "own"}, 200.0)
    assert own.deployed({}, Update(merge={"a": "text"}), 150.0).values == {"a": {"b": "own"}}
    assert own.deployed({}, Update(merge={"a": "text"}), 250.0).values == {"a": "text"}


def test_an_update_during_a_deployment_is_in_what_a_rollback_returns_to(tmp_path: Path) -> None:
    store = ConfigurationStore(tmp_path / "configuration.json")
    store.replace({"app": Configuration().deployed({"k": "old"}, Update(), 100.0)})
    store.update("app", [], {"before": "x"}, 110.0)
    new = Update(merge={"k": "new"})
    before = store.deploy(lambda current: {"app": current["app"].deployed({}, new, 200.0), "more": Configuration()})
    store.update("app", [], {"since": "y"}, 210.0)
    store.update("more", [], {"lost": "with its component"}, 210.0)
    store.restore(before)

    assert {name: each.values for name, each in store.all().items()} == {
        "app": {"k": "old", "before": "x", "since": "y"}
    }


texts = st.text("uvw", max_size=1)
trees = st.fixed_dictionaries(
    {}, optional={"a": texts, "b": texts, "deep": st.dictionaries(st.sampled_from("xy"), texts, max_size=2)}
)


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["component", "merge", "reset"]), st.integers(1, 9), trees), max_size=10))
def test_no_update_that_was_accepted_gives_way_to_an_earlier_one(steps: list[tuple[str, int, dict[str, Any]]]) -> None:
    """Deployments and components' own updates, in any order of their timestamps."""
    configuration, latest = Configuration(), dict[tuple[str, ...], tuple[int, str]]()
    last_reset = 0
    for kind, timestamp, tree in steps:
        own = {tuple(path): (timestamp, find(tree, path)) for path in leaves(tree)}
        if kind == "component":
            try:
                configuration = configuration.updated([], tree, timestamp)
            except Stale:
                assert last_reset > timestamp or any(latest.get(path, (0, ""))[0] > timestamp for path in own)
                continue
            latest |= own
        else:
            update = Update([""] if kind == "reset" else [], tree)
            last_reset = max(last_reset, timestamp) if kind == "reset" else last_reset
            configuration = configuration.deployed({}, update, timestamp)
            newer = {path: each for path, each in latest.items() if each[0] > timestamp}
            latest = (own if kind == "reset" else latest | own) | newer
        assert {tuple(path): find(configuration.values, path) for path in leaves(configuration.values)} == {
            path: value for path, (_, value) in latest.items()
        }


def test_updates_are_remembered_only_while_a_deployment_is_activated(tmp_path: Path) -> None:
    store = ConfigurationStore(tmp_path / "configuration.json")
    store.replace({"app": Configuration().deployed({"k": "old"}, Update(), 100.0)})

    def update(*numbers: int) -> int:
        for number in numbers:
            store.update("app", [], {"k": str(number)}, 200.0 + number)
        return len(store._accepted)

    assert update(1, 2) == 0
    before = store.deploy(dict)
    assert update(3, 4) == 2
    store.keep()
    assert update(5, 6) == 0
    store.deploy(dict)
    assert update(7) == 1
    store.restore(before)
    assert update(8, 9) == 0
