"""Any bytes on a result topic become one line for people."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from emflow.results.message import NotAResult, Result, format_line, read
from results.test_message import WHOLE

ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers(), max_size=2),
    st.sampled_from([10**400, -(10**400), "1e999", "9" * 500, "٣", {}]),
    st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z"]),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(WHOLE)), ODD, min_size=1, max_size=3))
def test_a_message_with_odd_values_is_a_result_or_none_and_has_a_line(odd: dict[str, Any]) -> None:
    message = read(json.dumps({**WHOLE, **odd}).encode())
    line = format_line(message)
    assert line
    assert "\n" not in line


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80) | st.sampled_from([b"[" * 100_000, b'{"index":' * 100_000, b"NaN", b"\xff\xfe1\x00"]))
def test_any_bytes_are_no_result_and_say_why(payload: bytes) -> None:
    message = read(payload)
    assert isinstance(message, NotAResult)
    assert message.reason
    assert "\n" not in format_line(message)


def test_a_number_that_json_lacks_is_no_result() -> None:
    whole = json.dumps(WHOLE).encode()
    assert isinstance(read(whole), Result)
    assert isinstance(read(whole.replace(b"45.2", b"NaN")), NotAResult)
    assert isinstance(read(whole.replace(b"45.2", b"1e999")), NotAResult)
