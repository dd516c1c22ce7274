"""Durations and intervals: the text that was written, and what it means."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emflow_schema.configuration import limit
from emflow_schema.key import Key
from emflow_schema.units import DeviceDuration, Duration, Interval


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("1s", 1), ("1.5m", 90), ("2h", 7200), ("1d", 86400), ("0s", 0)]
)
def test_a_duration_is_a_number_with_a_unit(text: str, seconds: float) -> None:
    assert Duration(text).seconds == seconds
    assert Duration(text) == text


@pytest.mark.parametrize("text", ["1", "s", "1 s", "-1s", "1S", "1s\n", "1h30m", "", "5 frames", "0"])
def test_what_is_none_has_no_seconds(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        _ = Duration(text).seconds


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("0.0", 0), ("1 s", 1), ("250  ms", 0.25), ("48h", 172800)])
def test_the_device_takes_a_blank_before_the_unit_and_nothing_without_one(text: str, seconds: float) -> None:
    assert DeviceDuration(text).seconds == Interval(text).seconds == seconds


@pytest.mark.parametrize("text", ["1d", "1", "00", "0 x", "1s ", "\u0661s"])
def test_what_the_device_does_not_take_has_no_seconds(text: str) -> None:
    for kind in (DeviceDuration, Interval):
        with pytest.raises(ValueError, match="no duration"):
            _ = kind(text).seconds


@pytest.mark.parametrize(("text", "frames"), [("5 frames", 5), ("1 frame", 1), ("5frames", 5), ("05 frames", 5)])
def test_a_number_of_frames_is_no_duration(text: str, frames: int) -> None:
    assert (Interval(text).frames, Interval(text).seconds) == (frames, 0.0)


@given(st.text(alphabet="0123456789. frameshd", max_size=12))
def test_what_a_pattern_lets_through_can_be_read_and_nothing_else(text: str) -> None:
    for kind in (Duration, DeviceDuration, Interval):
        matches = re.fullmatch(kind.PATTERN, text) is not None
        try:
            readable = kind(text).seconds >= 0
        except ValueError:
            readable = False
        assert readable == matches, kind


@pytest.mark.parametrize(
    ("text", "key", "wrong"),
    [
        ("99ms", Key(low=0.1), "has to lie between 0.1s and 366d"),
        ("367d", Key(), "has to lie between 0s and 366d"),
        ("13h", Key(unit="seconds", low=900, high=43200), "has to lie between 900s and 43200s"),
        ("1500ms", Key(unit="seconds"), "has to be whole seconds"),
        ("90s", Key(unit="minutes", low=1, high=10), "has to be whole minutes"),
        ("30s", Key(unit="minutes", low=1, high=10), "has to be between 1 and 10 minutes"),
        ("36h", Key(unit="days"), "has to be whole days"),
        ("30d", Key(unit="days", low=1, high=100), ""),
    ],
)
def test_a_limit_is_reported_in_the_unit_that_counts(text: str, key: Key, wrong: str) -> None:
    assert limit(Duration(text), key) == wrong
