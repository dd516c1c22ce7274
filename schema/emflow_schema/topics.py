"""Topics with places for names in them, such as `em/inference/{thing}/{stream}`: checked and filled."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

# Of AWS IoT; MQTT itself takes 65,535 bytes, and any number of slashes.
LONGEST, MOST_SLASHES = 256, 7
_PLACE = re.compile(r"\{([^{}]*)\}")

OF_RESULTS = ("thing", "stream", "model")
"""The places that a topic of results may have."""

OF_ALL = ("thing", "model")
"""Those of the status and the metrics, which are no stream's."""


class TopicFault(NamedTuple):
    """What is wrong with a topic, and what to do about it.

    place: the name of a place that there is none of; empty for anything else.
    granted: nothing is wrong with the topic, but no access policy can grant it and only it.
    """

    message: str
    mend: str = ""
    place: str = ""
    granted: bool = False


def places(template: str) -> tuple[str, ...]:
    """The names in braces, each once."""
    return tuple(dict.fromkeys(_PLACE.findall(template)))


def fill(template: str, names: Mapping[str, str]) -> str:
    """The topic, with every `{place}` of the template replaced by the name of that place; one without stays."""
    # In one go: what comes in is a name, whatever it looks like.
    return _PLACE.sub(lambda place: names.get(place[1], place[0]), template)


def fault(template: str, names: Mapping[str, Sequence[str]]) -> TopicFault | None:
    """What is wrong with a template, or with what it can become; None when nothing is.

    Args:
        names: what each place may be filled with. Other places are unknown.
    """
    used = places(template)
    for place in used:
        if place not in names:
            takes = ", ".join(f"{{{name}}}" for name in names)
            return TopicFault(f"{{{place}}} is no place for a name", f"it takes {takes}", place=place)
    fixed = _PLACE.sub("", template)
    bad = next((sign for sign in fixed if sign in "#+{}" or _no_character(sign)), None)
    if bad is not None:
        mend = "places are written {thing}, {stream}, {model}" if bad in "{}" else _EXAMPLE
        return TopicFault(f"{bad!r} cannot stand in a topic to publish to", mend)
    for place in used:
        for name in names[place]:
            # A slash would make two levels of one, and access is granted for exact topics.
            if any(sign in "#+/" or _no_character(sign) for sign in name):
                return TopicFault(f"{{{place}}} cannot be filled with {name!r}")
    longest = fill(template, {place: max(names[place], key=_size, default="") for place in used})
    filled = " with the longest names" if longest != template else ""
    if _size(longest) > LONGEST:
        return TopicFault(f"it has {_size(longest)} bytes{filled}, AWS IoT takes {LONGEST}", _EXAMPLE)
    return _ungranted(fixed, longest)


_EXAMPLE = "for example: em/inference"


def _ungranted(fixed: str, longest: str) -> TopicFault | None:
    """Why a topic cannot be granted to a component, though a broker would take it."""
    # Greengrass reads * and ? in an access policy's resource as wildcards, and $ as an escape: they would grant more.
    bad = next((sign for sign in fixed if sign in "*?$"), None)
    if bad is not None:
        return TopicFault(f"{bad!r} cannot stand in a topic to publish to", _EXAMPLE, granted=True)
    if not longest or longest.startswith("/") or longest.endswith("/") or "//" in longest:
        return TopicFault("a level is empty", _EXAMPLE, granted=True)
    if longest.count("/") > MOST_SLASHES:
        message = f"it has {longest.count('/')} slashes, AWS IoT takes {MOST_SLASHES}"
        return TopicFault(message, _EXAMPLE, granted=True)
    return None


def _size(text: str) -> int:
    return len(text.encode())


def _no_character(sign: str) -> bool:
    """Controls, and code points that are none: MQTT lets a broker refuse them."""
    code = ord(sign)
    return unicodedata.category(sign) == "Cc" or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
