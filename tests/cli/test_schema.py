"""`emflow schema`: the schema as it is, one key explained, and the line that editors need."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import emflow_schema


def test_without_a_key_the_schema_itself_is_printed(emflow) -> None:
    ran = emflow("schema")
    assert (ran.code, ran.out) == (0, emflow_schema.text("workflow"))


def test_a_key_is_explained_with_type_limits_default_and_example(emflow) -> None:
    ran = emflow("schema", "edge.streams[0].every")
    assert ran.code == 0
    assert ran.out.splitlines()[0] == "edge.streams[].every: Time between inferences"
    for words in ("as fast as inference goes.", "limits:   A number with a unit", "default:  1s", "example:  250ms"):
        assert words in ran.out


def test_a_section_says_what_it_holds_and_whether_it_is_needed(emflow) -> None:
    ran = emflow("schema", "cloud.model")
    assert "required: yes" in ran.out
    assert "holds:    name, version, artifact" in ran.out


@pytest.mark.parametrize(("key", "mend"), [("edge.stream", "did you mean `edge.streams`?"), ("every", "edge.streams")])
def test_an_unknown_key_is_reported_with_the_nearest(emflow, key: str, mend: str) -> None:
    ran = emflow("schema", key)
    assert ran.code == 2
    assert f"a workflow has no key `{key}`" in ran.err
    assert mend in ran.err


def test_the_header_points_an_editor_at_the_installed_schema(emflow) -> None:
    ran = emflow("schema", "--header")
    start, _, address = ran.out.strip().partition("$schema=")
    assert start == "# yaml-language-server: "
    assert json.loads(Path(unquote(urlsplit(address).path)).read_text()) == emflow_schema.load("workflow")
