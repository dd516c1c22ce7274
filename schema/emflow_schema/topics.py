"""Topics with places for names in them, such as `em/inference/{thing}/{stream}`: checked and filled."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from emflow_schema.errors import ConfigProblem

# Of AWS IoT; MQTT itself takes 65,535.
LONGEST = 256
_PLACE = re.compile(r"\{([^{}]*)\}")


def fill(template: str, names: Mapping[str, str]) -> str:
    """The topic, with every `{place}` of the template replaced by the name of that place; one without stays."""
    # In one go: what comes in is a name, whatever it looks like.
    return _PLACE.sub(lambda place: names.get(place[1], place[0]), template)


def check(template: str, key: str, names: Mapping[str, Sequence[str]]) -> None:
    """Check a template and all that it can become.

    Args:
        key: of the setting, for messages.
        names: what each place may be filled with; other places are unknown.

    Raises:
        ConfigProblem: it is no topic to publish to.
    """
    used = dict.fromkeys(_PLACE.findall(template))
    for place in used:
        if place not in names:
            known = " and ".join(f"{{{name}}}" for name in names)
            raise ConfigProblem(f"{key}: {{{place}}} is unknown; it takes {known}")
    fixed = _PLACE.sub("", template)
    if any(sign in "{}" for sign in fixed):
        raise ConfigProblem(f"{key}: {template!r} has a brace that closes or opens nothing")
    if _unfit(fixed):
        raise ConfigProblem(f"{key}: {template!r} is no topic to publish to")
    for place in used:
        for name in names[place]:
            # A slash would make two levels of one, and access is granted for exact topics.
            if "/" in name or _unfit(name):
                raise ConfigProblem(f"{key}: {{{place}}} cannot be filled with {name!r}")
    longest = {place: max(names[place], key=lambda name: len(name.encode()), default="") for place in used}
    size = len(fill(template, longest).encode())
    if size > LONGEST:
        raise ConfigProblem(f"{key}: the topic gets {size} bytes long; AWS IoT takes {LONGEST}")


def _unfit(text: str) -> bool:
    """Whether there are wildcards, or what a broker may refuse: controls, and code points that are no character."""
    return any(sign in "#+" or _no_character(sign) for sign in text)


def _no_character(sign: str) -> bool:
    code = ord(sign)
    return unicodedata.category(sign) == "Cc" or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
