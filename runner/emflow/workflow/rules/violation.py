"""What a rule says: where, what, and what to do about it."""

from __future__ import annotations

from typing import NamedTuple

from emflow.workflow.source.positions import KeyPath


class Violation(NamedTuple):
    place: KeyPath
    message: str
    mend: str = ""
