"""Semantic versions, and the version requirements that recipes write (npm's ranges, as Greengrass reads them)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering

_NUMBER = r"(?:0|[1-9]\d*)"
_VERSION = re.compile(
    rf"(?P<major>{_NUMBER})\.(?P<minor>{_NUMBER})\.(?P<patch>{_NUMBER})"
    r"(?:-(?P<pre>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-.]+)?"
)
_COMPARATOR = re.compile(
    r"(?P<operator>>=|<=|==|=|>|<|~|\^|)\s*v?"
    r"(?P<major>\d+|[xX*])(?:\.(?P<minor>\d+|[xX*]))?(?:\.(?P<patch>\d+|[xX*]))?(?:-(?P<pre>[0-9A-Za-z-.]+))?"
)


@total_ordering
@dataclass(frozen=True)
class Version:
    """`major.minor.patch`, with an optional pre-release that comes before the version itself."""

    numbers: tuple[int, int, int]
    pre: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Version:
        """Raises ValueError when `text` is no semantic version."""
        found = _VERSION.fullmatch(text)
        if not found:
            raise ValueError(f"{text!r} is not a semantic version such as 1.0.0")
        numbers = (int(found["major"]), int(found["minor"]), int(found["patch"]))
        return cls(numbers, tuple(found["pre"].split(".")) if found["pre"] else ())

    def __lt__(self, other: Version) -> bool:
        return self._order < other._order

    @property
    def _order(self) -> tuple[tuple[int, int, int], bool, tuple[tuple[int, int, str], ...]]:
        # Numeric parts count as numbers and come before words; a release comes after its pre-releases.
        parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in self.pre)
        return self.numbers, not self.pre, parts


@dataclass(frozen=True)
class _Bounds:
    """From `low` up to `high`, which is outside unless `closed`; None is no limit."""

    low: Version | None = None
    high: Version | None = None
    closed: bool = False
    above: bool = False
    names_pre: tuple[int, int, int] | None = None

    def hold(self, version: Version) -> bool:
        if self.low and (version < self.low or (self.above and version == self.low)):
            return False
        return not (self.high and (version > self.high or (version == self.high and not self.closed)))


def satisfies(version: Version, requirement: str) -> bool:
    """Whether a version fits a requirement such as `>=1.0.0 <2.0.0`, `~1.2`, `^1.0.0`, `=1.0.0 || =2.0.0`, `*`.

    A pre-release fits only where the requirement names one of the same version.

    Raises:
        ValueError: the requirement cannot be read.
    """
    return any(_all_hold(version, bounds) for bounds in _parse(requirement))


def check(requirement: str) -> None:
    """Raises ValueError when a requirement cannot be read."""
    _parse(requirement)


def _all_hold(version: Version, bounds: list[_Bounds]) -> bool:
    if version.pre and not any(each.names_pre == version.numbers for each in bounds):
        return False
    return all(each.hold(version) for each in bounds)


def _parse(requirement: str) -> list[list[_Bounds]]:
    """Alternatives of comparators that hold together."""
    alternatives = []
    for text in requirement.split("||"):
        hyphened = re.fullmatch(r"\s*(\S+)\s+-\s+(\S+)\s*", text)
        plain = f">={hyphened[1]} <={hyphened[2]}" if hyphened else text
        bounds, rest = [], plain.strip().replace(",", " ")
        while rest:
            found = _COMPARATOR.match(rest)
            if not found or (found.end() < len(rest) and not rest[found.end()].isspace()):
                raise ValueError(f"{requirement!r} is not a version requirement such as >=1.0.0 <2.0.0")
            bounds.append(_bounds(found))
            rest = rest[found.end() :].strip()
        alternatives.append(bounds)
    return alternatives


def _bounds(found: re.Match[str]) -> _Bounds:
    named = [found[part] for part in ("major", "minor", "patch")]
    given = [int(part) for part in named if part is not None and part.isdigit()]
    pre = tuple(found["pre"].split(".")) if found["pre"] else ()
    major, minor, patch = (*given, 0, 0, 0)[:3]
    low = Version((major, minor, patch), pre)
    names_pre = low.numbers if pre else None
    after = _next(given, len(given) - 1)
    match found["operator"]:
        case ">=":
            return _Bounds(low if given else None, names_pre=names_pre)
        case ">":
            return _Bounds(low, above=True, names_pre=names_pre) if len(given) == 3 else _Bounds(after)
        case "<":
            return _Bounds(high=low, names_pre=names_pre)
        case "<=":
            return _Bounds(high=low, closed=True, names_pre=names_pre) if len(given) == 3 else _Bounds(high=after)
        case "~":
            return _Bounds(low, _next(given, min(1, len(given) - 1)), names_pre=names_pre)
        case "^":
            significant = next((place for place, number in enumerate(given) if number), len(given) - 1)
            return _Bounds(low, _next(given, significant), names_pre=names_pre)
    if len(given) == 3:
        return _Bounds(low, low, closed=True, names_pre=names_pre)
    return _Bounds(low, after) if given else _Bounds()


def _next(given: list[int], place: int) -> Version | None:
    """The first version after all that share the numbers up to `place`."""
    if not given:
        return None
    numbers = [*given[:place], given[place] + 1, 0, 0, 0][:3]
    return Version((numbers[0], numbers[1], numbers[2]))
