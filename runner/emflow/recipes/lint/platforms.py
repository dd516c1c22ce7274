"""Checks of the platforms of manifests: which devices, and which nucleus, use each of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emflow.recipes.lint.finding import RecipeFinding
from emflow.recipes.lint.keys import closest
from emflow.workflow.source.positions import KeyPath

CLASSIC, LITE = "aws_nucleus_classic", "aws_nucleus_lite"
"""The values of `runtime` for the classic (Java) and the lite nucleus."""

ATTRIBUTES = ("os", "architecture", "architecture.detail", "runtime")

_ALL = ("*", "all")

_VALUES = {
    "os": ("linux", "darwin", "windows"),
    "architecture": ("amd64", "aarch64", "arm", "x86"),
    "runtime": (LITE, CLASSIC),
}


def platform(found: Any, place: KeyPath) -> Iterator[RecipeFinding]:
    """What is wrong with one manifest's Platform."""
    if found is None:
        found = {}
    if not isinstance(found, dict):
        yield RecipeFinding(place, "has to be a map", 'for example: {os: linux, runtime: "*"}')
        return
    right = {key.lower(): key for key in ATTRIBUTES}
    lite = for_lite({**found, "runtime": "*"})
    for key, value in found.items():
        name = right.get(str(key).lower())
        if name is None:
            near = closest(str(key).lower(), right)
            if near:  # others may be attributes that a device's own configuration adds
                yield RecipeFinding((*place, str(key)), "is an unknown attribute", f"did you mean {near}?")
            continue
        if name != key:
            yield RecipeFinding((*place, str(key)), "is in another case than documented", f"write {name}")
        values = _VALUES.get(name)
        if isinstance(value, str) and len(value) > 1 and value.startswith("/") and value.endswith("/"):
            if lite and found.get("runtime") != CLASSIC:
                mend = f"write one manifest for each, or runtime: {CLASSIC}"
                yield RecipeFinding((*place, str(key)), "is a regular expression, which the lite nucleus lacks", mend)
        elif values and value not in (*values, *_ALL):
            near = closest(str(value), values)
            mend = f"did you mean {near}?" if near else f"one of: {', '.join(values)}, *"
            yield RecipeFinding((*place, str(key)), f"cannot be {value!r}", mend)
    if lite and not found.get("runtime"):
        mend = f'write runtime: "*" for both, or runtime: {CLASSIC} for the Java nucleus only'
        yield RecipeFinding(place, "has no `runtime`, and the lite nucleus ignores such a manifest", mend)


def for_lite(platform: Mapping[str, Any]) -> bool:
    """Whether a manifest is for the lite nucleus (too): for Linux, and not for the classic nucleus only."""
    system = str(platform.get("os", "*"))
    return platform.get("runtime") != CLASSIC and (system in ("linux", *_ALL) or system.startswith("/"))


def reachable(found: Sequence[Mapping[Any, Any]], architecture: str) -> Iterator[RecipeFinding]:
    """The first matching manifest is used, so a general one hides those after it; one has to match the board."""
    platforms = [
        {str(key).lower(): str(value) for key, value in each.items() if str(value) not in _ALL} for each in found
    ]
    for index, platform in enumerate(platforms):
        for earlier in range(index):
            if platforms[earlier].items() <= platform.items():
                what = f"is never reached: Manifests[{earlier}] matches all its devices"
                yield RecipeFinding(("Manifests", index, "Platform"), what, "put the more specific manifest first")
                break
    board = {"os": "linux", **({"architecture": architecture} if architecture else {})}
    if not any(all(_fits(want, board.get(key)) for key, want in each.items()) for each in platforms):
        what = " ".join(board.values())
        yield RecipeFinding(
            ("Manifests",), f"has none for {what}, so the deployment would fail", f"add one with {board}"
        )


def _fits(want: str, have: str | None) -> bool:
    if have is None:
        return True  # an attribute that is not known here
    if len(want) > 1 and want.startswith("/") and want.endswith("/"):
        try:
            return re.fullmatch(want[1:-1], have) is not None
        except re.error:
            return False
    return want == have
