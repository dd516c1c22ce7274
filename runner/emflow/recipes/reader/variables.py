"""Recipe variables, such as `{artifacts:path}` or `{configuration:/topic}`, in a text.

https://docs.aws.amazon.com/greengrass/v2/developerguide/component-recipe-reference.html#recipe-variables
"""

from __future__ import annotations

import re
from typing import Any

WORDS = {
    "artifacts": ("path", "decompressedPath"),
    "work": ("path",),
    "kernel": ("rootPath",),
    "iot": ("thingName",),
}
NAMESPACES = (*WORDS, "configuration")

_NAMED = re.compile(rf"(?:[\w.-]+:)?(?:{'|'.join(NAMESPACES)}):[^:{{}}\s]+")
_ANY = re.compile(rf"\{{{_NAMED.pattern}\}}")


def has_variable(text: str) -> bool:
    """Whether a value in it becomes known on the device only."""
    return _ANY.search(text) is not None


def without_quotes(value: Any) -> str:
    """The variable that a value was meant to be: to YAML, `{work:path}` is a map with one key and no value."""
    if isinstance(value, dict) and len(value) == 1:
        ((key, inner),) = value.items()
        if inner is None and isinstance(key, str) and _NAMED.fullmatch(key):
            return f"{{{key}}}"
    return ""
