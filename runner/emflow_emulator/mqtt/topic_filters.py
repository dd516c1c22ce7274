"""Topic filters of MQTT 3.1.1, section 4.7."""

from __future__ import annotations

import re

_FILTER = re.compile(r"(\+|[^+#\0]*)(/(\+|[^+#\0]*))*(/#)?|#")


def is_valid(topic_filter: str) -> bool:
    """Whether a text is a topic filter: `+` has to be a whole level, `#` the last one."""
    return bool(topic_filter) and _FILTER.fullmatch(topic_filter) is not None


def fits(topic_filter: str, topic: str) -> bool:
    """Whether a topic matches the filter."""
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(want in ("+", have) for want, have in zip(wanted, levels, strict=True))
