"""How one of AWS's components is configured by a revision, so that devices end up with what the workflow says.

A merge is a patch on what a device has: a key that leaves the merge stays on the device. So what an earlier revision
merged and the workflow no longer says is reset, from then on in every revision: a device may have missed any of them.
https://docs.aws.amazon.com/greengrass/v2/developerguide/update-component-configurations.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

EVERYTHING = ""
"""The JSON pointer to the whole configuration."""


def revised(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """`configurationUpdate` and `runWith` of a component, as far as it has them.

    Args:
        there: the component in the revision before.
        wanted: the component as the workflow has it; what it does not give is to be as if it never was.
    """
    before, given = there.get("configurationUpdate") or {}, wanted.get("configurationUpdate") or {}
    merge = json.loads(given.get("merge") or "{}")
    set_now = set(pointers(merge))
    earlier = {*(before.get("reset") or ()), *pointers(json.loads(before.get("merge") or "{}"))}
    # To reset everything is what somebody has to say each time: it takes away what was set up on the device itself.
    dropped = {pointer for pointer in earlier if pointer != EVERYTHING and not _within(pointer, set_now)}
    reset = sorted({*(given.get("reset") or ()), *dropped})
    update = {**({"merge": given["merge"]} if merge else {}), **({"reset": reset} if reset else {})}
    run_with = wanted.get("runWith")
    return {**({"configurationUpdate": update} if update else {}), **({"runWith": run_with} if run_with else {})}


def pointers(value: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """JSON pointers to all that a merge sets: to everything in it that is no mapping, or an empty one (RFC 6901)."""
    for key, inner in value.items():
        here = f"{above}/{key.replace('~', '~0').replace('/', '~1')}"
        if isinstance(inner, Mapping) and inner:
            yield from pointers(inner, here)
        else:
            yield here


def _within(pointer: str, others: set[str]) -> bool:
    """Whether a pointer is one of these, or points into what one of them points at."""
    return any(pointer == other or pointer.startswith(f"{other}/") for other in others)
