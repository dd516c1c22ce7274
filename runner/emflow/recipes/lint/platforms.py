"""Checks of the platforms of manifests: which devices, and which nucleus, use each of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from emflow.problems import Severity
from emflow.recipes.reader.finding import RecipeFinding
from emflow.recipes.reader.keys import PLATFORM, documented_keys
from emflow.recipes.reader.platforms import ALL, fits, is_pattern
from emflow.workflow.source.positions import KeyPath
from emflow.workflow.suggestions import nearest

CLASSIC, LITE = "aws_nucleus_classic", "aws_nucleus_lite"
"""The values of `runtime` for the classic (Java) and the lite nucleus."""

ATTRIBUTES = PLATFORM

_VALUES = {
    "os": ("linux", "darwin", "windows"),
    "architecture": ("amd64", "aarch64", "arm", "x86"),
    "runtime": (LITE, CLASSIC),
}


class Audience(Enum):
    """Who uses a manifest."""

    BOTH = "the lite nucleus, perhaps the classic one too"
    UNSAID = "the classic nucleus, because nothing is said of the runtime"
    CLASSIC = "the classic nucleus only"


def audience(platform: Any) -> Audience:
    """Who uses a manifest with this Platform. The lite nucleus runs on Linux only."""
    wanted = (
        {key: str(value) for key, value in documented_keys(platform, PLATFORM).items()}
        if isinstance(platform, dict)
        else {}
    )
    system = wanted.get("os", "*")
    if wanted.get("runtime") == CLASSIC or not (system in ("linux", *ALL) or is_pattern(system)):
        return Audience.CLASSIC
    return Audience.BOTH if wanted.get("runtime") else Audience.UNSAID


def is_for_every_lite_device(platform: Any) -> bool:
    """Whether each device with the lite nucleus takes a manifest with this Platform, so that it tries no later one."""
    wanted = platform if isinstance(platform, dict) else {}  # in the case that it reads
    return (
        wanted.keys() <= set(PLATFORM)
        and wanted.get("os") in ("linux", *ALL)
        and wanted.get("runtime") in (LITE, *ALL)
        and wanted.get("architecture", "*") in ALL
    )


def platform(found: Any, place: KeyPath) -> Iterator[RecipeFinding]:
    """What is wrong with one manifest's Platform."""
    who, found = audience(found), found if isinstance(found, dict) else {}
    right = {key.lower(): key for key in ATTRIBUTES}
    for key, value in found.items():
        name = right.get(key.lower())
        if name is None:
            near = nearest(key, ATTRIBUTES)
            if near:  # others may be attributes that a device's own configuration adds
                yield RecipeFinding((*place, key), "is an unknown attribute", f"did you mean {near}?")
            continue
        if name != key and who is not Audience.CLASSIC:
            what, mend = "is in another case than the lite nucleus reads", f"write {name}"
            yield RecipeFinding((*place, key), what, mend, nucleus="lite")
        values = _VALUES.get(name)
        if isinstance(value, str) and is_pattern(value):
            if who is not Audience.CLASSIC:
                mend = f"write one manifest for each, or runtime: {CLASSIC}"
                what = "is a regular expression, which the lite nucleus lacks"
                yield RecipeFinding((*place, key), what, mend, nucleus="lite")
        elif values and isinstance(value, str) and value not in (*values, *ALL):
            near = nearest(value, values)
            mend = f"did you mean {near}?" if near else f"one of: {', '.join(values)}, *"
            # Devices may say of themselves that they are something else, but never that they have another nucleus.
            severity: Severity = "error" if near or name == "runtime" else "warning"
            yield RecipeFinding((*place, key), f"cannot be {value!r}", mend, severity=severity)
    yield from _skipped_by_lite(found, who, place)


def _skipped_by_lite(found: Mapping[str, Any], who: Audience, place: KeyPath) -> Iterator[RecipeFinding]:
    if who is Audience.UNSAID:
        mend = f'write runtime: "*" for both, or runtime: {CLASSIC} for the classic nucleus only'
        yield RecipeFinding(
            place, "has no `runtime`, and the lite nucleus ignores such a manifest", mend, nucleus="lite"
        )
    elif who is Audience.BOTH and "os" not in documented_keys(found, PLATFORM):
        mend = "write os: linux"
        yield RecipeFinding(place, "has no `os`, and the lite nucleus ignores such a manifest", mend, nucleus="lite")


def reachable(found: Sequence[Mapping[str, Any]], architecture: str) -> Iterator[RecipeFinding]:
    """The first matching manifest is used, so a general one hides those after it; one has to match the board."""
    platforms = [{key.lower(): str(value) for key, value in each.items() if str(value) not in ALL} for each in found]
    for index, platform in enumerate(platforms):
        for earlier in range(index):
            if platforms[earlier].items() <= platform.items():
                what = f"is never reached: Manifests[{earlier}] matches all its devices"
                mend = "put the more specific manifest first"
                yield RecipeFinding(("Manifests", index, "Platform"), what, mend, severity="warning")
                break
    board = {"os": "linux", **({"architecture": architecture} if architecture else {})}
    try:
        if any(fits(each, board, unknown=True) for each in platforms):
            return
    except re.error:  # the reader reports it
        return
    what = f"has none for {' '.join(board.values())}, so the deployment would fail"
    yield RecipeFinding(("Manifests",), what, f"add one with {board}")
