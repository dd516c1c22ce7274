"""Versions and version requirements, as Greengrass reads them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emflow_emulator.aws.greengrass.semver import Version, check, satisfies

numbers = st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))


@pytest.mark.parametrize(
    ("requirement", "fits", "does_not"),
    [
        ("1.2.3", ["1.2.3"], ["1.2.4"]),
        ("=1.2.3", ["1.2.3"], ["1.2.2"]),
        ("==1.2.3", ["1.2.3"], ["1.3.3"]),
        (">=1.0.0", ["1.0.0", "9.0.0"], ["0.9.9"]),
        (">= 1.0.0 < 2.0.0", ["1.9.9"], ["2.0.0"]),
        (">1.0.0", ["1.0.1"], ["1.0.0"]),
        (">1", ["2.0.0"], ["1.9.9"]),
        ("<=2.0.0", ["2.0.0"], ["2.0.1"]),
        ("<=2.0", ["2.0.9"], ["2.1.0"]),
        ("~1.2.3", ["1.2.9"], ["1.3.0", "1.2.2"]),
        ("~1", ["1.9.0"], ["2.0.0"]),
        ("^1.2.0", ["1.9.9"], ["2.0.0", "1.1.9"]),
        ("^0.2.1", ["0.2.9"], ["0.3.0"]),
        ("^0.0.3", ["0.0.3"], ["0.0.4"]),
        ("1.2.x", ["1.2.0", "1.2.9"], ["1.3.0"]),
        ("1", ["1.0.0", "1.9.9"], ["2.0.0"]),
        ("*", ["0.0.1", "9.9.9"], []),
        ("1.0.0 - 1.5.0", ["1.5.0"], ["1.5.1"]),
        ("=1.0.0 || >=3.0.0", ["1.0.0", "3.1.0"], ["2.0.0"]),
        (">=1.0.0-rc.1", ["1.0.0-rc.2", "1.0.0", "2.0.0"], ["1.1.0-rc.1"]),
        (">=1.0.0", [], ["1.1.0-rc.1"]),
    ],
)
def test_a_requirement(requirement: str, fits: list[str], does_not: list[str]) -> None:
    assert [each for each in fits if not satisfies(Version.parse(each), requirement)] == []
    assert [each for each in does_not if satisfies(Version.parse(each), requirement)] == []


@pytest.mark.parametrize("text", ["one", "1.0.0.0", ">=", "1.0.0 and up", "=>1.0.0"])
def test_what_is_no_requirement(text: str) -> None:
    with pytest.raises(ValueError, match="not a version requirement"):
        check(text)


@pytest.mark.parametrize("text", ["1", "1.0", "01.0.0", "1.0.0.0", "v1.0.0", ""])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match="not a semantic version"):
        Version.parse(text)


def test_prereleases_come_before_their_release_in_their_own_order() -> None:
    ordered = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-rc.2", "1.0.0-rc.11", "1.0.0", "1.0.1"]
    versions = [Version.parse(each) for each in ordered]
    assert all(one < other for one, other in pairwise(versions))


@given(numbers, numbers)
def test_every_version_is_below_above_or_the_other(one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    version, text = Version(one), "{}.{}.{}".format(*other)
    held = [satisfies(version, f"{operator}{text}") for operator in ("<", "=", ">")]
    assert held.count(True) == 1
    assert satisfies(version, f"<={text}") is (held[0] or held[1])
    assert satisfies(version, f">={text}") is (held[1] or held[2])


@given(numbers)
def test_caret_and_tilde_let_the_version_itself_through_and_no_later_major(one: tuple[int, int, int]) -> None:
    text = "{}.{}.{}".format(*one)
    later = Version((one[0] + 1, 0, 0))
    for requirement in (f"^{text}", f"~{text}"):
        assert satisfies(Version(one), requirement)
        assert not satisfies(later, requirement)
