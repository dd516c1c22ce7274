"""Topic filters of MQTT 3.1.1, section 4.7."""

from __future__ import annotations


def is_valid(topic_filter: str) -> bool:
    """Whether a text is a topic filter: `+` has to be a whole level, `#` the last one."""
    *levels, last = topic_filter.split("/")
    texts = [level for level in (*levels, *(() if last == "#" else (last,))) if level != "+"]
    return bool(topic_filter) and not any(sign in text for text in texts for sign in "+#\0")


def fits(topic_filter: str, topic: str) -> bool:
    """Whether a topic matches the filter."""
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(want in ("+", have) for want, have in zip(wanted, levels, strict=True))


def covers(wide: str, narrow: str) -> bool:
    """Whether every topic that matches one filter matches the other one, too."""
    if narrow.startswith("$") and wide[0] in "+#":
        return False
    wanted, levels = wide.split("/"), narrow.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(
        want == have or (want == "+" and have != "#") for want, have in zip(wanted, levels, strict=True)
    )
