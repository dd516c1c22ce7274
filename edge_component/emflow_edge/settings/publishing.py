"""Where results go and how: the section `publish`."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emflow_edge.problems import ConfigProblem
from emflow_edge.settings import fields


@dataclass(frozen=True)
class Publishing:
    """The topic of results, and the quality of service that they are published with."""

    topic: str = "em/inference"
    qos: int = 1


def read_publishing(one: Mapping[str, Any]) -> Publishing:
    """Check the section `publish`.

    Raises:
        ConfigProblem: a value is wrong.
    """
    topic = fields.text(one, "topic", "em/inference", prefix="publish.")
    if not topic or any(sign in "#+" or _no_character(sign) for sign in topic) or len(topic.encode()) > 256:
        raise ConfigProblem(f"publish.topic: {topic!r} is no topic to publish to")
    return Publishing(topic=topic, qos=fields.whole(one, "qos", 1, low=0, high=1, prefix="publish."))


def _no_character(sign: str) -> bool:
    """Whether a code point is one of those that MQTT lets a broker refuse: controls, and what is no character."""
    code = ord(sign)
    return unicodedata.category(sign) == "Cc" or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
