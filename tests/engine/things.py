"""Resources that live in a dictionary, so that what the engine does can be watched without any cloud."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from emflow.engine.clients import Clients
from emflow.engine.resource import REMOVABLE, Diff, FieldLabel, Inputs, Observed, Outputs, Retention, RunContext


@dataclass
class World(Clients):
    """What exists, and everything that was done to it, in order. Has no clients, but is in their place."""

    there: dict[str, dict[str, Any]] = field(default_factory=dict)
    did: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, what: str) -> None:
        with self.lock:
            self.did.append(what)


@dataclass(frozen=True)
class Thing:
    """Wants a value. `uses` names a thing whose output becomes part of what it wants."""

    id: str
    needs: frozenset[str] = frozenset()
    value: Any = 1
    uses: str = ""
    keep: Retention = REMOVABLE
    on_apply: Callable[[RunContext], object] = lambda run: None
    on_diff: Callable[[], object] = lambda: None
    releases: frozenset[str] = frozenset()
    labels: Mapping[str, FieldLabel] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.id.upper()

    def observe(self, clients: Any) -> Observed | None:
        clients.note(f"observe {self.id}")
        return clients.there.get(self.id)

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        self.on_diff()
        want = {"value": self.value} | ({"used": inputs.planned(self.uses, "made")} if self.uses else {})
        return Diff.between(want, observed, outputs={"made": f"{self.id}!"} if observed else {})

    def apply(self, clients: Any, diff: Diff, inputs: Inputs, run: RunContext) -> Outputs:
        self.on_apply(run)
        clients.note(f"apply {self.id}")
        clients.there[self.id] = {**(clients.there.get(self.id) or {}), **{c.field: c.new for c in diff.changes}}
        return {"made": f"{self.id}!"}

    def retention(self, observed: Mapping[str, Any], *, delete_data: bool) -> Retention:
        return REMOVABLE if delete_data else self.keep

    def delete(self, clients: Any, run: RunContext) -> None:
        self.on_apply(run)
        clients.note(f"delete {self.id}")
        clients.there.pop(self.id, None)


def thing(name: str, *needs: str, **more: Any) -> Thing:
    return Thing(name, frozenset(needs), **more)


def error(code: str, message: str) -> str:
    """An error in the XML that IAM and STS answer with."""
    return f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
