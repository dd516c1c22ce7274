"""What others wrote into AWS (status, deployment, recipe) is read as far as it can be, and never ends a command."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emflow.cli.status import as_data, as_text
from emflow.json_text import to_json
from emflow.resources.application_status import parse
from emflow.resources.greengrass.component_queries import stored_artifacts
from emflow.resources.greengrass.deployment_records import merged_configuration, names_as_tags, names_in_tags
from emflow.resources.greengrass.revision import comparable, revised_configuration
from emflow.resources.status import Status
from emflow.resources.status_queries import DeviceStatus
from emflow.workflow import load
from resources.test_application_status import NOW, TOPIC, message

ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | st.sampled_from([10**400, "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-13-01", "\ud800"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip
KEYS = ("time", "status", "since", "streams", "agent", "reason", "version")
STREAM_KEYS = ("status", "reason", "since", "last_result", "seconds_without_result")


@pytest.fixture(scope="module")
def demo() -> Any:
    from resources.conftest import ROOT

    return load(ROOT / "workflows" / "demo.yaml")


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from(KEYS), ODD, max_size=2),
    st.dictionaries(st.sampled_from(STREAM_KEYS), ODD, max_size=3),
    st.binary(max_size=3),
)
def test_any_retained_status_can_be_shown(demo: Any, odd: Any, odd_stream: Any, noise: bytes) -> None:
    whole = copy.deepcopy(message("core", front=("running", 1.0)))
    whole["streams"]["front"] |= odd_stream
    payload = json.dumps({**whole, **odd}).encode() + noise
    found = parse(payload, NOW - timedelta(seconds=3), NOW, TOPIC, "core", demo)
    status = Status("w", "thing/core", datetime.now(UTC), devices=(DeviceStatus("core", "HEALTHY", application=found),))
    json.loads(to_json(as_data(status)))
    assert "\x1b" not in as_text(status).plain


MERGES = [None, "", "{}", "{", "[]", "7", "null", '"text"', '{"a": NaN}', "[" * 100_000, '{"a": {"b": 1}}', "\ud800"]


@pytest.mark.parametrize("merge", MERGES, ids=lambda merge: repr(merge)[:16])
def test_a_deployment_of_others_with_any_merge_is_compared_and_revised(merge: str | None) -> None:
    update = {} if merge is None else {"configurationUpdate": {"merge": merge}}
    there = {"componentVersion": "1.0.0", **update}
    wanted = {"componentVersion": "1.0.0", "configurationUpdate": {"merge": '{"a": {"b": 2}}'}}
    assert comparable({**update}) is not None  # a component without a version
    assert (comparable(there) == comparable(wanted)) is False
    revised = revised_configuration(there, wanted)
    assert revised["configurationUpdate"]["merge"] == '{"a": {"b": 2}}'
    assert isinstance(merged_configuration(there), dict)


RECIPES = [
    b"", b"{", b"[]", b"7", b'{"Manifests": 7}',
    b'{"Manifests": [7, {"Artifacts": 7}, {"Artifacts": [7, {"Uri": 7}]}]}',
    b'{"Manifests": {"a": 1}}', b"\xff",
]  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_that_is_none_refers_to_nothing(recipe: bytes) -> None:
    greengrass = SimpleNamespace(get_component=lambda **_: {"recipe": recipe})
    assert stored_artifacts(lambda service: greengrass, "arn") == {}  # type: ignore[arg-type]


def test_only_the_tags_that_continue_each_other_name_components() -> None:
    names = {f"com.example.{number:040}" for number in range(20)}
    tags = names_as_tags(names)
    assert len(tags) > 2
    others = {"emflow:components-of-others": "x", "emflow:components:x": "y", "emflow:componentsets": "z"}
    assert names_in_tags({**tags, **others}) == names
