"""Component versions and version requirements, as Greengrass reads them; the libraries decide, not these tests."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emflow.versions import check_requirement, is_version, satisfies, sort_key

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
        (">=1.0.0, <2.0.0", ["1.5.0"], ["2.0.0"]),
        ("==1.0.0 || ==1.2.0", ["1.0.0", "1.2.0"], ["1.1.0"]),
        ("=1.0.0 || >=3.0.0", ["1.0.0", "3.1.0"], ["2.0.0"]),
        (">=1.0.0-rc.1", ["1.0.0-rc.2", "1.0.0", "2.0.0"], ["1.1.0-rc.1"]),
        (">=1.0.0", [], ["1.1.0-rc.1"]),
        ("==1.0.0+a", ["1.0.0+a"], ["1.0.0", "1.0.0+b", "1.0.1+a"]),
        ("1.0.0-rc.1+a", ["1.0.0-rc.1+a"], ["1.0.0-rc.1", "1.0.0+a"]),
        ("=1.0.0", ["1.0.0+a", "1.0.0+b"], ["1.0.1+a"]),
        (">=1.0.0+a <2.0.0+b", ["1.0.0", "1.9.0+c"], ["2.0.0", "2.0.0+a"]),
    ],
)
def test_a_requirement(requirement: str, fits: list[str], does_not: list[str]) -> None:
    assert [each for each in fits if not satisfies(each, requirement)] == []
    assert [each for each in does_not if satisfies(each, requirement)] == []
    check_requirement(requirement)


@pytest.mark.parametrize("text", ["one", "1.0.0.0", ">=", "1.0.0 and up", "=>1.0.0", "===1.0.0", ">=1.0.0 <"])
def test_what_is_no_requirement(text: str) -> None:
    with pytest.raises(ValueError, match="not a version requirement"):
        check_requirement(text)
    with pytest.raises(ValueError, match="not a version requirement"):
        satisfies("1.0.0", text)


@pytest.mark.parametrize("text", ["1", "1.0", "01.0.0", "1.0.0.0", "v1.0.0", ""])
def test_what_is_no_version(text: str) -> None:
    assert not is_version(text)
    with pytest.raises(ValueError, match="not a semantic version"):
        satisfies(text, "*")


def test_prereleases_come_before_their_release_in_their_own_order() -> None:
    ordered = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-rc.2", "1.0.0-rc.11", "1.0.0", "1.0.1"]
    assert all(sort_key(one) < sort_key(other) for one, other in pairwise(ordered))


@given(numbers, numbers)
def test_every_version_is_below_above_or_the_other(one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    version, text = "{}.{}.{}".format(*one), "{}.{}.{}".format(*other)
    held = [satisfies(version, f"{operator}{text}") for operator in ("<", "=", ">")]
    assert held.count(True) == 1
    assert satisfies(version, f"<={text}") is (held[0] or held[1])
    assert satisfies(version, f">={text}") is (held[1] or held[2])


@given(numbers)
def test_caret_and_tilde_let_the_version_itself_through_and_no_later_major(one: tuple[int, int, int]) -> None:
    text = "{}.{}.{}".format(*one)
    later = f"{one[0] + 1}.0.0"
    for requirement in (f"^{text}", f"~{text}"):
        assert satisfies(text, requirement)
        assert not satisfies(later, requirement)


def test_plain_versions_and_requirements_need_no_library() -> None:
    code = """
import sys
from emflow.versions import check_requirement, is_version
assert is_version("1.20.3") and not is_version("latest")
check_requirement(">=1.0.0 <2.0.0")
check_requirement("1.0.0")
sys.exit(not {"semver", "nodesemver"}.isdisjoint(sys.modules))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
