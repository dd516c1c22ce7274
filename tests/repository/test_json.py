"""The host side writes and reads JSON in one place, where it is JSON: no NaN, no infinity, nothing that is no UTF-8."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emflow.json_text import from_json, to_json

RUNNER = Path(__file__).parents[2] / "runner"
THE_ONE_PLACE = RUNNER / "emflow" / "json_text.py"
FUNCTIONS = {"dump", "dumps", "load", "loads", "JSONEncoder", "JSONDecoder"}

NOT_FINITE = [math.nan, math.inf, -math.inf]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def uses(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "json":
            yield f"{path}:{node.lineno}: from json import …"
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "json"
            and node.attr in FUNCTIONS
        ):
            yield f"{path}:{node.lineno}: json.{node.attr}"


def test_no_other_module_of_the_host_side_uses_pythons_json() -> None:
    found = [use for path in sorted(RUNNER.rglob("*.py")) if path != THE_ONE_PLACE for use in uses(path)]
    assert found == [], "use emflow.json_text"
    assert list(uses(THE_ONE_PLACE)) != []  # the search finds what there is


@given(VALUES)
def test_what_is_written_is_read_again_and_is_utf_8(value: Any) -> None:
    for ascii_only in (True, False):
        text = to_json(value, ascii_only=ascii_only)
        assert from_json(text.encode()) == value == json.loads(text)


@pytest.mark.parametrize("number", NOT_FINITE)
def test_a_number_that_json_lacks_is_neither_written_nor_read(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        to_json({"a": [number]})
    with pytest.raises(ValueError, match="no number of JSON"):
        from_json(json.dumps({"a": [number]}))
    assert json.dumps(from_json(json.dumps([number]), any_number=True)) == json.dumps([number])


@pytest.mark.parametrize("text", ["1e999", "-1e999", "9" * 400, "[" * 100_000, '{"a":' * 100_000, b"\xff", ""])
def test_what_cannot_be_read_is_always_one_kind_of_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_json(text)


def test_a_file_name_that_is_not_utf_8_is_written_with_an_escape() -> None:
    name = b"labels-\xff.txt".decode(errors="surrogateescape")
    text = to_json({name: name}, ascii_only=False)
    assert text.encode() == b'{"labels-\\udcff.txt": "labels-\\udcff.txt"}'
    assert from_json(text) == {name: name}
