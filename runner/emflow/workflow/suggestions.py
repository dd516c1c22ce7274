"""The nearest known name to one that is unknown, for error messages."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

MAX_COMPARED = 100
"""Characters of the unknown name that are compared: difflib takes long for long texts."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint such as ``did you mean `topic`?``, or an empty text when no known name is near, as `nearest` finds it."""
    near = nearest(name, known)
    return f"did you mean `{near}`?" if near else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most similar, or an empty text when none is near.

    Upper and lower case, `-` and `_` make no difference.
    """
    plain = {re.sub(r"[-_]", "", other).lower(): other for other in known}
    near = difflib.get_close_matches(re.sub(r"[-_]", "", name[:MAX_COMPARED]).lower(), plain, 1, 0.6)
    return plain[near[0]] if near else ""
