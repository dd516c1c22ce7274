"""Recipe variables in scripts, such as `{artifacts:decompressedPath}` or `{configuration:/topic}`.

https://docs.aws.amazon.com/greengrass/v2/developerguide/component-recipe-reference.html#recipe-variables. What is not
known stays in the text as it was, as the nucleus leaves it: a shell's own `${NAME}` and `{a,b}` have to survive.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emflow_emulator.core.configuration import find, pointer_keys
from emflow_emulator.core.layout import Layout

_VARIABLE = re.compile(r"\{(?:(?P<component>[\w.-]+):)?(?P<namespace>[\w-]+):(?P<key>[^:}]*)\}")


@dataclass(frozen=True)
class Subject:
    """A component that variables can be about."""

    name: str
    version: str
    configuration: Mapping[str, Any]


def interpolate(text: str, me: Subject, dependencies: Mapping[str, Subject], layout: Layout, thing: str) -> str:
    """Fill in the variables of one script.

    Args:
        me: the component whose script it is.
        dependencies: its direct dependencies, the only others that a script may ask about.
    """

    def value(found: re.Match[str]) -> str:
        about = dependencies.get(found["component"]) if found["component"] else me
        answer = _value(found["namespace"], found["key"], about, layout, thing) if about else None
        return found[0] if answer is None else answer

    return _VARIABLE.sub(value, text)


def _value(namespace: str, key: str, about: Subject, layout: Layout, thing: str) -> str | None:
    match namespace, key:
        case "configuration", pointer:
            return _configured(about, pointer)
        case "artifacts", "path":
            return str(layout.artifacts(about.name, about.version))
        case "artifacts", "decompressedPath":
            return str(layout.unarchived(about.name, about.version))
        case "work", "path":
            return str(layout.work(about.name))
        case "kernel", "rootPath":
            return str(layout.root)
        case "iot", "thingName":
            return thing
    return None


def _configured(about: Subject, pointer: str) -> str | None:
    """Text as it is, everything else as JSON."""
    if not pointer.startswith("/"):
        return None
    try:
        found = find(about.configuration, pointer_keys(pointer))
    except KeyError:
        return None
    return found if isinstance(found, str) else json.dumps(found, separators=(",", ":"))
