"""JSON that every reader takes, from all that runs on a device."""

from __future__ import annotations

import ast
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import emflow_schema
from emflow_schema.json_text import NonFiniteNumber, finite, json_text, json_text_with_nulls, non_finite

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
ROOT = Path(emflow_schema.__file__).parents[2]


def refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is no JSON")


def strictly(text: str) -> Any:
    return json.loads(text, parse_constant=refuse)


@given(VALUES)
def test_any_value_is_written_as_it_is_or_refused_with_its_place(value: Any) -> None:
    wrong = list(non_finite(value))
    if wrong:
        with pytest.raises(NonFiniteNumber) as caught:
            json_text(value)
        assert str(caught.value) == f"{wrong[0]} is no finite number"
    else:
        assert strictly(json_text(value)) == value == strictly(json_text(value, indent=2, ascii_only=True))


@given(VALUES)
def test_null_stands_for_what_is_no_number_and_nothing_else_changes(value: Any) -> None:
    text, wrong = json_text_with_nulls(value)
    assert strictly(text) == finite(value)
    assert bool(wrong) == (finite(value) != value)


def test_a_place_is_named_by_its_keys() -> None:
    value = {"latencies_ms": {"age": {"p50": math.nan}}, "top": [0.5, math.inf], "fine": 1.0}
    assert list(non_finite(value)) == ["latencies_ms.age.p50", "top[1]"]
    assert list(non_finite(math.nan)) == ["the value"]


def written_by_hand(path: Path) -> Iterator[str]:
    """Calls of `json.dumps` and `json.dump` that would write NaN."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("dumps", "dump"):
            strict = any(
                one.arg == "allow_nan" and isinstance(one.value, ast.Constant) and one.value.value is False
                for one in node.keywords
            )
            if not strict:
                yield f"{path.relative_to(ROOT)}:{node.lineno}"


def test_no_code_of_a_device_writes_json_that_may_hold_nan() -> None:
    sources = [path for folder in ("edge_component", "schema", "proto") for path in (ROOT / folder).rglob("*.py")]
    if not any("edge_component" in str(path) for path in sources):
        pytest.skip("the packages are installed, and not the sources")
    assert [place for path in sources for place in written_by_hand(path)] == []


def test_metrics_with_a_number_that_is_none_are_json_and_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    from emflow_edge.observability.exposition import json_for_readers

    value = {"latencies_ms": {"age": {"p50": math.inf}}}
    with caplog.at_level(logging.WARNING):
        assert strictly(json_for_readers(value, "metrics")) == {"latencies_ms": {"age": {"p50": None}}}
    assert caplog.messages == ["metrics: latencies_ms.age.p50 is no finite number; null is sent instead"]


def test_a_line_of_the_log_is_json_whatever_it_holds() -> None:
    from emflow_edge.observability.logs import JsonFormatter

    record = logging.LogRecord("x", logging.INFO, "f", 1, "took %s", (math.nan,), None)
    record.took, record.where = math.nan, Path("/x")
    line = strictly(JsonFormatter().format(record))
    assert (line["message"], line["took"], line["where"]) == ("took nan", None, "/x")
