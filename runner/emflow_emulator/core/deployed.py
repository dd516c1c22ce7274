"""What the device has on disk to go on with when it starts again: its components, and the deployments that are over.

A nucleus that starts again runs what it ran before; it does not carry out deployments again that have succeeded, failed
or been cancelled. Configurations and artifacts are elsewhere on disk: `configuration`, `artifacts`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from emflow.json_text import from_json, to_json

_MOST_FINISHED = 100
"""Ids that are remembered: more than a thing can have targets, each of which has one latest deployment."""


@dataclass(frozen=True)
class Deployed:
    """Never changed in place.

    Args:
        thing: the device's thing; another one has nothing to do with what is stored here.
        recipes: the texts of the recipes of all components, by name.
        roots: the components that deployments name.
        sources: for each component, the id of the deployment that last installed or changed it.
        finished: ids of deployments that are over, oldest first.
    """

    thing: str
    recipes: Mapping[str, str] = field(default_factory=dict)
    roots: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    finished: tuple[str, ...] = ()

    def with_finished(self, deployment: str) -> Deployed:
        others = tuple(each for each in self.finished if each != deployment)
        return replace(self, finished=(*others, deployment)[-_MOST_FINISHED:])

    def store(self, path: Path) -> None:
        """Raises OSError; then what was stored before stays."""
        fresh = path.with_suffix(".new")
        fresh.write_text(to_json(dataclasses.asdict(self)))
        fresh.replace(path)


def load(path: Path, thing: str) -> Deployed:
    """What is stored there for this thing; nothing where that cannot be read."""
    try:
        stored = from_json(path.read_text())
        found = Deployed(**stored | {"roots": tuple(stored["roots"]), "finished": tuple(stored["finished"])})
    except (OSError, ValueError, TypeError, KeyError):
        return Deployed(thing)
    return found if found.thing == thing else Deployed(thing)
